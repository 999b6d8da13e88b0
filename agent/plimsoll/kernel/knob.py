"""
The knobs: which file each of them is on this host, and reading and writing one.

One value is one write(2), and the answer is an outcome. This module must not know which value is wanted, what was
written before, or what to do when somebody else wrote.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self

from plimsoll.kernel.cap import lifted
from plimsoll.kernel.cgroup import Hierarchies, Mode, limit_bytes
from plimsoll.kernel.hostfs import Directory, HostFs, Reading
from plimsoll.kernel.isst.mixture import mixed
from plimsoll.kernel.isst.registers import Registers
from plimsoll.kernel.register_knob import RegisterKnob
from plimsoll.model.cpus import format_cpus, parse_cpus
from plimsoll.model.outcome import Outcome, outcome_of
from plimsoll.model.plan import Knob, Target, TargetKind

# A cgroup's write handler gets one page or nothing: longer text is E2BIG.
WRITE_LIMIT = 4096
CPUFREQ = "sys/devices/system/cpu/cpufreq"
INHERIT = "inherit"
"""How an empty ``cpuset.cpus`` is spelled here: the cgroup may run wherever the one above it may."""
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_POLICY = re.compile(r"policy[0-9]{1,4}", re.ASCII)


class Drift(StrEnum):
    """What is right when somebody else changed a knob we hold."""

    REASSERT = "reassert"  # ours again, ever more rarely; on exit the value from before us goes back
    ADOPT = "adopt"  # the same, but what they wrote is what goes back on exit: they know better
    YIELD = "yield"  # theirs stands for as long as we would only want the same as before


def integer(text: str) -> str:
    """One spelling for a value that is an integer; what is none stays as it is, without space around it."""
    line = text.partition("\n")[0].strip()
    return str(int(line)) if _INTEGER.fullmatch(line) else line


def byte_count(text: str) -> str:
    """The same for bytes: cgroup v1 spells ``max`` as the largest whole page."""
    value = integer(text)
    return "max" if _INTEGER.fullmatch(value) and limit_bytes(int(value)) is None else value


def cpu_list(text: str) -> str:
    """The same for a list of CPUs."""
    line = text.partition("\n")[0].strip()
    try:
        return format_cpus(parse_cpus(line))
    except ValueError:
        return line


class Carried(NamedTuple):
    """
    A file beside a knob that the kernel sets to ``reset`` when the knob goes back to 0.

    So it is part of what stood there: while the knob is 0 its value reads ``0 FILE=VALUE``, and this writes both.
    """

    file: str
    reset: str


class KnobSpec(NamedTuple):
    """
    Where a knob is: ``v1`` as (controller, file), ``v2`` as a file, ``node`` as a path below the host's root,
    ``cpufreq`` as a file of a cpufreq policy, ``register`` as one of Speed Select's (kernel/isst/registers.py).

    ``normalise`` gives the one spelling by which two values are compared. ``paged``: bytes the kernel rounds down to
    whole pages. ``drift_seconds``: the longest somebody else's value is let stand; ``None``: as long as any knob's.
    ``carried``: see there, one for each version of cgroups. ``excludes``: knobs that share a file with
    this one; of two such only one is held at a time, or neither would know its original. ``blank``: how the empty value
    is spelled here, where there is one. ``exact``: what reads back otherwise was not written at all. ``capped``: what
    reads back is less than what was asked for while something else in the kernel asks for less.
    """

    knob: Knob
    v1: tuple[str, str] | None = None
    v2: str | None = None
    node: str | None = None
    cpufreq: str | None = None
    register: str | None = None
    drift: Drift = Drift.REASSERT
    drift_seconds: float | None = None
    normalise: Callable[[str], str] = integer
    paged: bool = False
    carried: tuple[Carried, ...] = ()
    excludes: frozenset[Knob] = frozenset()
    blank: str | None = None
    exact: bool = False
    capped: bool = False

    def file_of(self, target: Target) -> str | None:
        """The path below the host's root of a target that is no cgroup; ``None`` where there is no such file."""
        if target.kind is TargetKind.NODE:
            return self.node
        if target.kind is TargetKind.UNIT and self.cpufreq is not None and _POLICY.fullmatch(target.path):
            return f"{CPUFREQ}/{target.path}/{self.cpufreq}"
        return None

    def begun(self, found: str, value: str) -> bool:
        """Whether ``found`` is what stands there between the two writes of ``value``."""
        return any(
            found == f"0 {each.file}={each.reset}" and value.startswith(f"0 {each.file}=") for each in self.carried
        )

    def mixed(self, found: str, values: Collection[str]) -> bool:
        """Whether ``found`` may be what is left where somebody was killed between the commands that write these."""
        return self.register is not None and mixed(found, values)

    def same(self, one: str, other: str) -> bool:
        """Whether two texts stand for the same value."""
        return one == other or self.normalise(one) == self.normalise(other)

    def rounded(self, found: str, value: str) -> bool:
        """Whether ``found`` may be what the kernel made of ``value``."""
        if self.same(found, value):
            return True
        if not (self.paged or self.capped):
            return False
        given, kept = self.normalise(value), self.normalise(found)
        if not _INTEGER.fullmatch(given) or not _INTEGER.fullmatch(kept):
            return False
        if self.capped:
            return int(kept) <= int(given)
        # memory.* are counted in pages, rounded down.
        return int(kept) == int(given) - int(given) % os.sysconf("SC_PAGE_SIZE")


_ALL = (
    # Going back from idle makes the weight the default one (sched_group_set_idle). Who else writes it, the kubelet or
    # systemd, means a new weight.
    KnobSpec(
        Knob.CPU_IDLE,
        v1=("cpu", "cpu.idle"),
        v2="cpu.idle",
        drift=Drift.ADOPT,
        carried=(Carried("cpu.weight", "100"), Carried("cpu.shares", "1024")),
        excludes=frozenset({Knob.CPU_WEIGHT, Knob.CPU_SHARES}),
    ),
    # A pod's weight is the kubelet's: a new one means new requests. systemctl daemon-reload sets it afresh too.
    KnobSpec(Knob.CPU_WEIGHT, v2="cpu.weight", drift=Drift.ADOPT, excludes=frozenset({Knob.CPU_IDLE})),
    KnobSpec(Knob.CPU_SHARES, v1=("cpu", "cpu.shares"), drift=Drift.ADOPT, excludes=frozenset({Knob.CPU_IDLE})),
    KnobSpec(Knob.CPU_QOS_LEVEL, v1=("cpu", "cpu.qos_level")),
    KnobSpec(Knob.MEMORY_QOS_LEVEL, v1=("memory", "memory.qos_level")),
    KnobSpec(Knob.MEMORY_LOW, v2="memory.low", drift=Drift.ADOPT, normalise=byte_count, paged=True),
    # Turning the node's switch off is an administrator's doing, and has reset every cgroup already.
    KnobSpec(Knob.MEMCG_QOS_ENABLE, node="proc/sys/vm/memcg_qos_enable", drift=Drift.YIELD),
    # The kubelet's CPU manager writes its containers' afresh every ten seconds: what it writes is what goes back.
    KnobSpec(
        Knob.CPUSET_CPUS,
        v1=("cpuset", "cpuset.cpus"),
        v2="cpuset.cpus",
        drift=Drift.ADOPT,
        normalise=cpu_list,
        blank=INHERIT,
    ),
    # systemctl daemon-reload makes 0 into max without a word: that is nobody's wish, and installing packages reloads a
    # dozen times. Until it is 0 again the pod may swap to the device of others.
    KnobSpec(Knob.MEMORY_SWAP_MAX, v2="memory.swap.max", drift_seconds=5.0, normalise=byte_count, paged=True),
    KnobSpec(Knob.MEMORY_SWAPFILE, v1=("memory", "memory.swapfile"), normalise=str.strip),
    # They read back what is in force, not what was asked for: thermal limits and other requests count in.
    KnobSpec(Knob.SCALING_MIN_FREQ, cpufreq="scaling_min_freq", drift=Drift.YIELD, capped=True),
    KnobSpec(Knob.SCALING_MAX_FREQ, cpufreq="scaling_max_freq", drift=Drift.YIELD, capped=True),
    KnobSpec(Knob.ENERGY_PREFERENCE, cpufreq="energy_performance_preference", drift=Drift.YIELD, normalise=str.strip),
    # Two managers of Speed Select would undo each other for ever: the other one wins.
    *(
        KnobSpec(knob, register=knob.partition(".")[2], drift=Drift.YIELD, normalise=str.strip, exact=True)
        for knob in (
            Knob.CLOS_ASSOCIATION,
            Knob.CLOS_PARAMETERS,
            Knob.CORE_POWER,
            Knob.TURBO_FREQUENCY,
            Knob.TURBO_LIMITS,
        )
    ),
)
KNOBS: Mapping[Knob, KnobSpec] = MappingProxyType({spec.knob: spec for spec in _ALL})


class KnobFile:
    """
    One knob of one target, held by the cgroup's directory: a cgroup made again under the same name is another one.

    ``identity`` is the directory's inode number in its hierarchy, 0 for the node.
    """

    __slots__ = ("_blank", "_carried", "_directory", "_file", "_reached", "identity")

    def __init__(
        self,
        directory: Directory,
        file: str,
        reached: tuple[Directory, str] | None,
        carried: tuple[Carried, ...] = (),
        blank: str | None = None,
    ) -> None:
        """
        ``reached``: by which directory and path the cgroup was found; ``None`` for the node's own files.

        ``carried`` and ``blank`` are the knob's.
        """
        self._blank = blank
        self._carried = next((each.file for each in carried if directory.exists(each.file)), None)
        self._directory = directory
        self._file = file
        self._reached = reached
        self.identity = 0 if reached is None else directory.inode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the cgroup; closing twice is allowed. The host's own directory is not ours to close."""
        if self._reached is not None:
            self._directory.close()

    def read(self) -> Reading:
        """What stands there now."""
        reading = self._read(self._file)
        if self._blank is not None and reading.data is not None:
            line, end, tail = reading.data.partition(b"\n")
            if not line.strip():
                # A recorded file keeps the tail of a longer value until it is cut: then it is not yet as it was.
                return reading._replace(data=self._blank.encode("ascii") + (end + tail if tail else b""))
        if self._carried is None or reading.data != b"0\n":
            return reading
        beside = self._read(self._carried)
        if beside.outcome is not Outcome.OK or beside.data is None:
            return beside
        return reading._replace(data=b"0 %s=%s" % (self._carried.encode("ascii"), beside.data))

    def _read(self, file: str) -> Reading:
        reading = self._directory.read(file)
        return reading._replace(outcome=self._vanished()) if reading.outcome is Outcome.MISSING else reading

    def write(self, text: str) -> tuple[Outcome, int]:
        """
        Put one value there in one system call, or one for each file: the outcome and its errno, 0 where none failed.

        OK says that the kernel took it, not that it keeps it. Text of more than one line, or that does not fit a page,
        is REJECTED unseen.
        """
        if self._blank is not None and text == self._blank:
            return self._put(self._file, b"\n")
        head, carries, value = text.partition(f" {self._carried}=")
        answer = self._write(self._file, head)
        if not carries or self._carried is None or answer[0] is not Outcome.OK:
            return answer
        # In this order: while the knob is set the kernel refuses the other.
        return self._write(self._carried, value)

    def _write(self, file: str, text: str) -> tuple[Outcome, int]:
        line = text.removesuffix("\n")
        if not line or not line.isascii() or not line.isprintable():
            return Outcome.REJECTED, errno.EINVAL
        data = f"{line}\n".encode("ascii")
        return (Outcome.REJECTED, errno.E2BIG) if len(data) > WRITE_LIMIT else self._put(file, data)

    def _put(self, file: str, data: bytes) -> tuple[Outcome, int]:
        try:
            # Never O_CREAT: nothing is made below a cgroup root. O_NONBLOCK: a FIFO in its place would hold us up.
            descriptor = self._directory.open(file, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                self._inject("write", file)
                if os.write(descriptor, data) != len(data):
                    return Outcome.FAILED, 0
                # A kernel file has no size to speak of. A recorded one would keep the tail of a longer value.
                if os.fstat(descriptor).st_size > len(data):
                    self._inject("truncate", file)
                    os.ftruncate(descriptor, len(data))
            finally:
                os.close(descriptor)
        except OSError as error:
            code = error.errno or errno.EIO
            outcome = outcome_of(code)
            return (self._vanished() if outcome is Outcome.MISSING else outcome), code
        return Outcome.OK, 0

    def present(self) -> Outcome:
        """OK, or why the file cannot be had: MISSING where this cgroup lacks it, GONE where the cgroup vanished."""
        try:
            os.close(self._directory.open(self._file, os.O_PATH))
        except OSError as error:
            outcome = outcome_of(error.errno or errno.EIO)
            return self._vanished() if outcome is Outcome.MISSING else outcome
        return Outcome.OK

    def _vanished(self) -> Outcome:
        """ENOENT below a held directory: a kernel without this file, or a cgroup that is no more?"""
        if self._reached is None:
            return Outcome.MISSING
        above, path = self._reached
        try:
            with above.directory(path) as now:
                return Outcome.MISSING if now.inode() == self.identity else Outcome.GONE
        except OSError as error:
            return Outcome.GONE if outcome_of(error.errno or 0) is Outcome.MISSING else Outcome.MISSING

    def _inject(self, operation: str, file: str) -> None:
        fault = self._directory.fault
        path = f"{self._directory.path}/{file}"
        code = 0 if fault is None else fault(operation, path)
        if code:
            raise OSError(code, os.strerror(code), path)


class Knobs:
    """
    The knobs of one host. No descriptor is held between calls.

    ``registers`` gives those of Speed Select as they are now, ``None`` where there are none: CPUs that go on or off
    line may change what there is.
    """

    def __init__(
        self, host: HostFs, hierarchies: Hierarchies, registers: Callable[[], Registers | None] = lambda: None
    ) -> None:
        self._host = host
        self._hierarchies = hierarchies
        self._registers = registers

    def open(self, target: Target, knob: Knob) -> KnobFile | RegisterKnob | Outcome:
        """
        The knob's file or register, to be closed by the caller, or why there is none.

        MISSING: this kernel or host lacks it; GONE: there is no such cgroup (any more).
        """
        spec = KNOBS[knob]
        if spec.register is not None:
            registers = self._registers()
            return Outcome.MISSING if registers is None else RegisterKnob.of(registers, target, knob)
        if target.kind is not TargetKind.CGROUP:
            file = spec.file_of(target)
            return Outcome.MISSING if file is None else _checked(KnobFile(self._host, file, None))
        home = self._home(spec)
        if home is None:
            return Outcome.MISSING
        above, file = home
        path = target.path or "."
        try:
            directory = above.directory(path)
        except OSError as error:
            outcome = outcome_of(error.errno or errno.EIO)
            return Outcome.GONE if outcome is Outcome.MISSING else outcome
        return _checked(KnobFile(directory, file, (above, path), spec.carried, spec.blank))

    def original(self, target: Target, knob: Knob, text: str) -> str:
        """What is to be put back some day where ``text`` stands now: the same, unless that will pass by itself."""
        spec = KNOBS[knob]
        file = spec.file_of(target) if knob is Knob.SCALING_MAX_FREQ else None
        return text if file is None else lifted(self._host, file.rpartition("/")[0], text)

    def _home(self, spec: KnobSpec) -> tuple[Directory, str] | None:
        """The hierarchy a knob of a cgroup is in, and what it is called there."""
        hierarchies = self._hierarchies
        if spec.v1 is not None and spec.v1[0] in hierarchies.v1:
            return hierarchies.v1[spec.v1[0]], spec.v1[1]
        if spec.v2 is None or hierarchies.unified is None:
            return None
        if hierarchies.mode is Mode.HYBRID and spec.v2.partition(".")[0] not in hierarchies.unified_controllers:
            return None
        return hierarchies.unified, spec.v2


def _checked(file: KnobFile) -> KnobFile | Outcome:
    outcome = file.present()
    if outcome is Outcome.OK:
        return file
    file.close()
    return outcome
