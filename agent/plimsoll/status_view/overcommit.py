"""Memory overcommit as lines: the ratio, the device, and the pods that gave most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from plimsoll.model.acting import Mode
from plimsoll.status_view.fields import UNKNOWN, duration, mappings, number, size, text

# The others are in /status.json.
_SHOWN = 10
_DAY = 86_400.0


def overcommit_lines(overcommit: Mapping[str, Any]) -> Iterator[str]:
    """One for all of it, one each for why nothing is reclaimed, the device, and the first pods."""
    yield f"overcommit: {', '.join(_node(overcommit))}"
    pause = overcommit.get("pause")
    if isinstance(pause, Mapping):
        yield f"overcommit: paused: {text(pause.get('message'))}"
    device = overcommit.get("device")
    if isinstance(device, Mapping):
        yield f"swap device: {', '.join(_device(device, overcommit.get('writes')))}"
        for each in mappings(device.get("reasons")):
            yield f"swap device: {text(each.get('reason'))}: {text(each.get('message'))}"
    pods = mappings(overcommit.get("pods"))
    for each in pods[:_SHOWN]:
        yield f"offloads: {text(each.get('namespace'))}/{text(each.get('pod'))}: {', '.join(_pod(each))}"
    if len(pods) > _SHOWN:
        yield f"offloads: {len(pods) - _SHOWN} pods more"


def _node(overcommit: Mapping[str, Any]) -> Iterator[str]:
    if overcommit.get("mode") == Mode.OBSERVE:
        yield "only observed"
    ratio, target = number(overcommit.get("ratio")), number(overcommit.get("targetRatio"))
    if target is not None:
        yield f"ratio {UNKNOWN if ratio is None else f'{ratio:.2f}'} of {target:.2f}"
    memory = f"{_size(overcommit.get('memoryBytes'))} in memory"
    budget = number(overcommit.get("budgetBytes"))
    yield memory if budget is None else f"{memory} of a budget of {size(budget)}"
    yield f"{_size(overcommit.get('offloadedBytes'))} saved"
    if gap := number(overcommit.get("gapBytes")):
        yield f"{size(gap)} to go"
    if isinstance(selector := overcommit.get("selector"), str):
        yield f"by {text(selector)}"
    for each in mappings(overcommit.get("passedOver")):
        yield f"not by {text(each.get('selector'))} ({text(each.get('reason'))})"


def _device(device: Mapping[str, Any], writes: object) -> Iterator[str]:
    yield text(device.get("path"))
    if device.get("active") is not True:
        yield "NOT IN USE"
    elif device.get("dedicated") is None:
        yield "not known whether dedicated"
    else:
        yield "dedicated" if device.get("dedicated") is True else "NOT DEDICATED"
    if (whole := number(device.get("sizeBytes"))) is not None:
        yield f"{_size(device.get('usedBytes'))} of {size(whole)} used"
    if isinstance(writes, Mapping):
        if (rate := number(writes.get("bytesPerSecond"))) is not None:
            yield f"written {size(rate)}/s"
        if (left := number(writes.get("budgetBytes"))) is not None:
            yield f"may be written {size(left)} now"
    if (life := number(device.get("lifeSeconds"))) is not None:
        yield f"lasts {life / _DAY:.0f} days"


def _pod(pod: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_size(pod.get('offloadedBytes'))} of at most {_size(pod.get('capBytes'))}"
    yield f"floor {_size(pod.get('floorBytes'))}"
    if (step := number(pod.get("step"))) is not None:
        yield f"step {step:.1%}"
    if (pressure := number(pod.get("swapPressure"))) is not None:
        yield f"waits {pressure:.1%}{'' if pod.get('exact') is True else ' (estimated)'}"
    if (back := number(pod.get("refaultBytesPerSecond"))) is not None:
        yield f"{size(back)}/s back"
    yield f"by {text(pod.get('selector'))}"
    if wanted := number(pod.get("wantedBytes")):
        yield f"a request now: {size(wanted)}"
    pause = pod.get("pause")
    if isinstance(pause, Mapping):
        seconds = number(pause.get("seconds"))
        left = f" for {duration(seconds)} more" if seconds else ""
        yield f"paused{left}: {text(pause.get('message'))}"


def _size(value: object) -> str:
    found = number(value)
    return UNKNOWN if found is None else size(found)
