"""
The knobs of this host: finding that of a target.

What a knob is, is kernel/knob_spec.py's; reading and writing it, kernel/knob_file.py's and its neighbours'. This module
must not know which value is wanted.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from plimsoll.kernel.cap import lifted
from plimsoll.kernel.cgroup import Hierarchies, Mode
from plimsoll.kernel.cpufreq import idle
from plimsoll.kernel.disk_knob import DiskKnob
from plimsoll.kernel.hostfs import Directory, HostFs
from plimsoll.kernel.isst.registers import Registers
from plimsoll.kernel.kdamonds_knob import KdamondsKnob
from plimsoll.kernel.knob_file import KnobFile
from plimsoll.kernel.knob_spec import KNOBS, KnobSpec
from plimsoll.kernel.register_knob import RegisterKnob
from plimsoll.kernel.swap_call import SwapCall, swap_call
from plimsoll.kernel.swap_file import is_own
from plimsoll.kernel.swap_file_knob import SwapFileKnob
from plimsoll.kernel.swap_knob import SwapKnob
from plimsoll.kernel.topology import POSSIBLE, read_cpus
from plimsoll.model.cpus import format_cpus
from plimsoll.model.outcome import Outcome, outcome_of
from plimsoll.model.plan import SWAP_ABSENT, Knob, Target


class Knobs:
    """
    The knobs of one host. No descriptor is held between calls.

    ``swap`` turns swap devices on and off: it is the running kernel's, whatever the host's root. ``registers`` gives
    those of Speed Select as they are now, ``None`` where there are none: CPUs that go on or off line may change what
    there is.
    """

    def __init__(
        self,
        host: HostFs,
        hierarchies: Hierarchies,
        registers: Callable[[], Registers | None] = lambda: None,
        swap: SwapCall = swap_call,
    ) -> None:
        self._host = host
        self._swap = swap
        self._hierarchies = hierarchies
        self._registers = registers

    def open(
        self, target: Target, knob: Knob
    ) -> KnobFile | DiskKnob | RegisterKnob | SwapKnob | SwapFileKnob | KdamondsKnob | Outcome:
        """
        The knob's file or register, to be closed by the caller, or why there is none.

        MISSING: this kernel or host lacks it; GONE: there is no such cgroup (any more); OFFLINE: its CPUs are off line.
        """
        spec = KNOBS[knob]
        if spec.register is not None:
            registers = self._registers()
            return Outcome.MISSING if registers is None else RegisterKnob.of(registers, target, knob)
        if knob is Knob.SWAP_FILE:
            return SwapFileKnob.of(self._host, target)
        if spec.swap:
            return SwapKnob.of(self._host, self._hierarchies, target, knob, self._swap)
        if knob is Knob.DAMON_KDAMONDS:
            return KdamondsKnob.of(self._host, target)
        if target.cgroup is None:
            file = spec.file_of(target)
            if file is None:
                return Outcome.MISSING
            if spec.cpufreq is not None and idle(self._host, target.path):
                return Outcome.OFFLINE
            return _checked(KnobFile(self._host, file, None))
        home = self._home(spec)
        if home is None or bool(target.disk) != (spec.unlimited is not None):
            return Outcome.MISSING
        above, file = home
        path = target.cgroup or "."
        try:
            directory = above.directory(path)
        except OSError as error:
            outcome = outcome_of(error.errno or errno.EIO)
            return Outcome.GONE if outcome is Outcome.MISSING else outcome
        found = _checked(
            KnobFile(directory, file, (above, path), spec.carried, blank=spec.blank, widest=self._every_cpu)
        )
        if spec.unlimited is None or isinstance(found, Outcome):
            return found
        return DiskKnob(found, target.disk, spec.unlimited)

    def original(self, target: Target, knob: Knob, text: str) -> str:
        """What is to be put back some day where ``text`` stands now: the same, unless that will pass by itself."""
        spec = KNOBS[knob]
        if spec.outlives:
            return SWAP_ABSENT if is_own(self._host, target.path) else text
        file = spec.file_of(target) if knob is Knob.SCALING_MAX_FREQ else None
        return text if file is None else lifted(self._host, file.rpartition("/")[0], text)

    def _every_cpu(self) -> str | None:
        """All CPUs the node may ever have, also those that are off line: the widest ``cpuset.cpus`` of cgroup v2."""
        cpus = read_cpus(self._host, POSSIBLE)
        return None if not cpus else format_cpus(cpus)

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
