"""
How much of the node's disks a pod's owner wants the pod to have: hostile text to :class:`IoLimit`.

Pure. Whether there is such a disk is not known here. Every refusal is a ValueError with a sentence.
"""

from __future__ import annotations

import json
import re

from plimsoll.config.quantity import whole
from plimsoll.model.disk import MOST, IoLimit, IoRate, is_number

OWN_EXAMPLE = "/dev/vdb rbps=10Mi wbps=5Mi; /dev/vdc riops=500"
RUBIK_EXAMPLE = '{"device_read_bps": [{"device": "/dev/vdb", "value": "10485760"}]}'
# A node has a few disks a pod may use; each is a write of the agent in every tick that something changes.
MAX_DISKS = 16
# A path that names another by "..", and a link whose meaning the agent cannot see from /sys, are refused by its shape.
_DEVICE = re.compile(r"/dev/(?:mapper/)?[A-Za-z0-9][A-Za-z0-9._+-]{0,127}", re.ASCII)
_RATES = frozenset(IoRate._fields)
# rubik's names for the same four.
_RUBIK = {
    "device_read_bps": "rbps",
    "device_write_bps": "wbps",
    "device_read_iops": "riops",
    "device_write_iops": "wiops",
}


def parse_own(text: str) -> tuple[IoLimit, ...]:
    """
    ``/dev/vdb rbps=10Mi wbps=5Mi; 8:16 riops=500``: one disk after the other, quantities as Kubernetes writes them.

    What is not named is not limited; ``max`` says so in words. An empty text limits nothing.
    """
    found: dict[str, dict[str, int | None]] = {}
    for part in text.split(";"):
        words = part.split()
        if not words:
            continue
        device = _device(words[0])
        if device in found:
            raise ValueError(f"{device} is there twice")
        rates = found[device] = {}
        if len(words) == 1:
            raise ValueError(f"{device} has no rate: write rbps=, wbps=, riops= or wiops= behind it")
        for word in words[1:]:
            name, _, value = word.partition("=")
            if name not in _RATES:
                raise ValueError(f"{word[:40]!r} is no rate: write rbps=, wbps=, riops= or wiops=")
            if name in rates:
                raise ValueError(f"{name} of {device} is there twice")
            rates[name] = None if value == "max" else _rate(value, f"{name} of {device}")
            if rates[name] == 0:
                raise ValueError(f"{name} of {device} is 0: a pod without any I/O hangs; write max to lift the limit")
    return _limits(found)


def parse_rubik(text: str) -> tuple[IoLimit, ...]:
    """
    Rubik's ``volcano.sh/blkio-limit``: a JSON object of four lists of ``{"device": ..., "value": "..."}``.

    As there, a value of 0 is no limit.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(said, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - one kind of refusal for one kind of text
    found: dict[str, dict[str, int | None]] = {}
    for key, entries in said.items():
        if key not in _RUBIK:
            raise ValueError(f"{str(key)[:40]!r} is none of: {', '.join(_RUBIK)}")
        if not isinstance(entries, list):
            raise ValueError(f"{key} is not a list")  # noqa: TRY004 - as above
        for entry in entries:
            if not isinstance(entry, dict) or set(entry) != {"device", "value"}:
                raise ValueError(f"{key} has an entry that is not device and value")
            device = _device(entry["device"])
            rates = found.setdefault(device, {})
            if _RUBIK[key] in rates:
                raise ValueError(f"{key} of {device} is there twice")
            rates[_RUBIK[key]] = _rate(entry["value"], f"{key} of {device}") or None
    return _limits(found)


def _device(value: object) -> str:
    if isinstance(value, str) and (_DEVICE.fullmatch(value) or is_number(value)):
        return value
    raise ValueError(f"{str(value)[:40]!r} names no disk: write /dev/NAME, /dev/mapper/NAME or MAJOR:MINOR")


def _rate(value: object, what: str) -> int:
    try:
        rate = whole(value)
    except ValueError as error:
        raise ValueError(f"{what} is no rate ({error}): write a quantity such as 10Mi") from None
    if rate > MOST:
        raise ValueError(f"{what} is out of range")
    return rate


def _limits(found: dict[str, dict[str, int | None]]) -> tuple[IoLimit, ...]:
    if len(found) > MAX_DISKS:
        raise ValueError(f"{len(found)} disks are too many: {MAX_DISKS} at most")
    limits = (IoLimit(device, IoRate(**rates)) for device, rates in found.items())
    return tuple(sorted(each for each in limits if each.rate != IoRate()))
