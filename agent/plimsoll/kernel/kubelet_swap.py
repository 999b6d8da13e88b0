"""
What the kubelet was told about swap: by its flags, its configuration file and the drop-ins beside it.

Each of them overrides the one before, flags all of them. Flags are only seen where its process is: on the node itself,
not from a container. Reads only; whether it is good is judged elsewhere (``kernel/swap_support.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from plimsoll.config.problem import ConfigError
from plimsoll.config.yaml_text import load
from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.outcome import Outcome

# Where kubeadm and the images of the large clouds keep it.
CONFIGS = (
    "var/lib/kubelet/config.yaml",
    "etc/kubernetes/kubelet/config.json",
    "etc/kubernetes/kubelet/kubelet-config.json",
    "etc/kubernetes/kubelet-config.yaml",
    "home/kubernetes/kubelet-config.yaml",
)
# --config-dir has no default; these are the documentation's example, and that of Amazon's images.
FOLDERS = ("etc/kubernetes/kubelet.conf.d", "etc/kubernetes/kubelet/config.json.d")
# Kubernetes gives every pod its account's token there; the folder is in no node's own tree.
_IN_POD = "var/run/secrets/kubernetes.io"
# The kernel keeps process ids below this.
_MOST = 1 << 22
_TRUE = frozenset({"", "1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class Told(NamedTuple):
    """
    ``fail_swap_on`` and ``behavior`` as told, with the ``source`` of each; ``None``: nobody said so.

    ``seen``: at least a file, or the process. ``unread``: the first file that says nothing, and why.
    """

    seen: bool
    fail_swap_on: bool | None = None
    fail_source: str = ""
    behavior: str | None = None
    behavior_source: str = ""
    unread: tuple[str, Outcome] | None = None


def in_pod(host: HostFs) -> bool:
    """Whether this is a container of a pod, which sees none of the kubelet."""
    return host.exists(_IN_POD)


def told(host: HostFs) -> Told:
    """What is known of it. Never raises for what may stand in the files."""
    flags = _flags(host)
    found = Told(seen=flags is not None)
    for path in _files(host, flags or {}):
        fields = _fields(host, path)
        if fields is Outcome.MISSING:
            continue
        if isinstance(fields, Outcome):
            return found._replace(seen=True, unread=(path, fields))
        found = _merged(found, fields, f"/{path}")
    flag = (flags or {}).get("fail-swap-on")
    if flag in _TRUE | _FALSE:
        found = found._replace(fail_swap_on=flag in _TRUE, fail_source="the flag --fail-swap-on")
    return found


def _files(host: HostFs, flags: Mapping[str, str]) -> Iterator[str]:
    """The configuration file, then its drop-ins in the order they count."""
    if "config" in flags:
        yield flags["config"].lstrip("/")
    else:
        first = next((each for each in CONFIGS if host.exists(each)), None)
        if first is not None:
            yield first
    for folder in (flags["config-dir"].lstrip("/"),) if "config-dir" in flags else FOLDERS:
        yield from (f"{folder}/{name}" for name in host.names(folder).names if name.endswith(".conf"))


def _fields(host: HostFs, path: str) -> Mapping[object, object] | Outcome:
    reading = host.read(path)
    text = reading.text()
    if text is None:
        return reading.outcome
    try:
        fields = load(text, file=path).data
    except ConfigError:
        return Outcome.MALFORMED
    return fields if isinstance(fields, dict) else Outcome.MALFORMED


def _merged(found: Told, fields: Mapping[object, object], source: str) -> Told:
    found = found._replace(seen=True)
    if "failSwapOn" in fields:
        found = found._replace(fail_swap_on=fields["failSwapOn"] is not False, fail_source=source)
    swap = fields.get("memorySwap")
    behavior = swap.get("swapBehavior") if isinstance(swap, dict) else None
    if isinstance(behavior, str):
        found = found._replace(behavior=behavior, behavior_source=source)
    return found


def _flags(host: HostFs) -> Mapping[str, str] | None:
    """Those of the running kubelet by name; ``None``: no such process is seen."""
    for name in host.names("proc").names:
        if not name.isdecimal() or int(name) > _MOST or host.read(f"proc/{name}/comm").data != b"kubelet\n":
            continue
        words = (host.read(f"proc/{name}/cmdline").text() or "").split("\0")[1:]
        return dict(
            _flag(word, following) for word, following in zip(words, [*words[1:], ""], strict=True) if word[:1] == "-"
        )
    return None


def _flag(word: str, following: str) -> tuple[str, str]:
    """``--name=value``, ``--name value`` or, for true, ``--name``."""
    name, given, value = word.lstrip("-").partition("=")
    if given:
        return name, value
    return name, "" if name == "fail-swap-on" or following.startswith("-") else following
