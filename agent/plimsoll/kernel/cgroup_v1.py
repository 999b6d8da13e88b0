"""
Typed values of one cgroup v1 directory, through cgroupspy's controllers. The only user of cgroupspy.

Only its typed interfaces are used, one controller over one directory already resolved; never its ``Tree``, which walks
the whole hierarchy, fails when a cgroup vanishes meanwhile, and can create cgroups. cgroupspy opens files by path and
follows links, so its reader is replaced by ours. For values off the hot path: a limit, a quota, a set of CPUs.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from cgroupspy.controllers import CpuController, CpuSetController, MemoryController

from plimsoll.kernel.cgroup import limit_bytes
from plimsoll.kernel.hostfs import Directory
from plimsoll.model.outcome import Outcome, outcome_of

T = TypeVar("T")


class Value(NamedTuple, Generic[T]):
    """A value, or why there is none. ``None`` with an OK outcome means that there is no limit."""

    value: T | None
    outcome: Outcome


class MemoryValues(NamedTuple):
    """The memory controller's; bytes. ``stat`` keeps the kernel's keys."""

    usage_bytes: Value[int]
    limit_bytes: Value[int]
    stat: Value[Mapping[str, int]]


class CpuValues(NamedTuple):
    """The cpu controller's; microseconds. A quota of ``None`` with an OK outcome is no quota."""

    quota_us: Value[int]
    period_us: Value[int]
    shares: Value[int]


class CpusetValues(NamedTuple):
    """The cpuset controller's; an empty set is a cgroup that has not been given any yet."""

    cpus: Value[frozenset[int]]
    mems: Value[frozenset[int]]


def read_memory(directory: Directory) -> MemoryValues:
    """Read a cgroup of the memory hierarchy. Never raises for what the kernel may answer."""
    controller = _controller(MemoryController, directory)
    limit: Value[int] = _value(lambda: controller.limit_in_bytes)
    return MemoryValues(
        _value(lambda: controller.usage_in_bytes),
        limit._replace(value=limit_bytes(limit.value)),
        _value(lambda: controller.stat),
    )


def read_cpu(directory: Directory) -> CpuValues:
    """Read a cgroup of the cpu hierarchy. Never raises for what the kernel may answer."""
    controller = _controller(CpuController, directory)
    return CpuValues(
        _value(lambda: controller.cfs_quota_us),
        _value(lambda: controller.cfs_period_us),
        _value(lambda: controller.shares),
    )


def read_cpuset(directory: Directory) -> CpusetValues:
    """Read a cgroup of the cpuset hierarchy. Never raises for what the kernel may answer."""
    controller = _controller(CpuSetController, directory)
    return CpusetValues(
        _value(lambda: frozenset(controller.cpus)),
        _value(lambda: frozenset(controller.mems)),
    )


def _controller(kind: Callable[[None], Any], directory: Directory) -> Any:
    """A cgroupspy controller whose files are read strictly beneath ``directory`` and cannot be written."""

    def get_property(filename: bytes) -> str:
        reading = directory.read(filename.decode("ascii"))
        text = reading.text()
        if text is None:
            raise OSError(reading.errno, reading.outcome.value)
        return text.strip()

    def set_property(filename: bytes, _value: object) -> None:
        raise OSError(errno.EROFS, "this program writes knobs elsewhere", filename.decode("ascii"))

    controller = kind(None)
    # Its typed attributes reach files through these two methods only.
    controller.get_property = get_property
    controller.set_property = set_property
    return controller


def _value(get: Callable[[], T | None]) -> Value[T]:
    try:
        return Value(get(), Outcome.OK)
    except OSError as error:
        return Value(None, outcome_of(error.errno or errno.EIO))
    except ValueError:
        # What cgroupspy's parsers raise for a text of another shape.
        return Value(None, Outcome.MALFORMED)
