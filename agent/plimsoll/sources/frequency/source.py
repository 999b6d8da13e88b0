"""
The observation of one tick, put together from what was read now and what still holds.

It must not know who set a register: that it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from plimsoll.kernel.cpufreq import read_maximum
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.model.frequency import FrequencySample, Unit
from plimsoll.sources.frequency.layout import Layout, lay_out
from plimsoll.sources.frequency.meter import PowerMeter, SpeedMeter
from plimsoll.sources.frequency.registers import Switches, read_classes, read_switches
from plimsoll.sources.frequency.turn import Turn

# A write must be seen before it is taken to have been refused, which is after three seconds; the mailbox of older
# machines takes up to a millisecond for each association.
CLASSES_SECONDS: Final = 2.0
SWITCHES_SECONDS: Final = 5.0
# The firmware may change a performance level, and with it the base frequency, without a word.
LAYOUT_SECONDS: Final = 60.0
_LIMITS_SECONDS: Final = 0.05


class NodeFrequency:
    """
    Observes one host. ``clock`` gives monotonic seconds.

    Not for two threads at once; ``speed_select`` may be shared.
    """

    def __init__(self, host: HostFs, speed_select: SpeedSelect, clock: Callable[[], float]) -> None:
        self._host = host
        self._speed_select = speed_select
        self._clock = clock
        self._speed = SpeedMeter(host, clock)
        self._power = PowerMeter(host, clock)
        self._platform: Platform | Absence | None = None
        self._layout = Layout()
        self._laid_out = self._switched = self._classed = float("-inf")
        self._classes: dict[str, int] = {}
        self._switches = Switches()
        self._limits: dict[str, int] = {}
        self._turn: Turn[Unit] = Turn(clock, _LIMITS_SECONDS)
        self._ours = False

    def sample(self, *, ours: bool = False, full: bool = False) -> FrequencySample:
        """
        One observation. Never raises for what the host may answer.

        ``ours``: whether the registers of Speed Select are as this program left them, now or before it was killed.
        ``full``: read everything anew, whatever its age.
        """
        now = self._clock()
        # What was read while it was ours is no word on anybody else.
        full = full or ours != self._ours
        self._ours = ours
        platform = self._speed_select.find(afresh=full)
        full = full or platform is not self._platform
        if full or now - self._laid_out >= LAYOUT_SECONDS:
            self._platform, self._laid_out = platform, now
            self._layout = lay_out(self._host, platform)
        if isinstance(platform, Absence):
            self._classes, self._switches = {}, Switches()
        else:
            self._look(platform, now, full=full)
        return FrequencySample(
            backend=self._layout.backend,
            units=self._layout.units,
            classes=self._classes,
            prioritised=self._switches.prioritised,
            turbo_frequency=self._switches.turbo_frequency,
            foreign="" if ours else self._foreign(),
            buckets=self._switches.buckets,
            limits=self._read_limits(),
            megahertz=self._speed.read(self._layout),
            watts=self._power.read(),
        )

    def _look(self, platform: Platform, now: float, *, full: bool) -> None:
        if full or now - self._classed >= CLASSES_SECONDS:
            self._classes, self._classed = read_classes(platform), now
        if full or now - self._switched >= SWITCHES_SECONDS:
            self._switches, self._switched = read_switches(platform, self._layout.cores), now

    def _foreign(self) -> str:
        """Power shared out by class where every unit is in the class a reset leaves it in is nobody's doing."""
        return "; ".join(self._signs())

    def _signs(self) -> Iterator[str]:
        for package, on in sorted(self._switches.prioritised.items()):
            if not on:
                continue
            moved = [
                each.name
                for each in self._layout.units
                if each.package == package and self._classes.get(each.name, 0) != 0
            ]
            if self._switches.turbo_frequency.get(package):
                yield f"package {package} has core-power and turbo frequency on"
            elif moved:
                yield f"package {package} has core-power on and {len(moved)} units in another class of service than 0"

    def _read_limits(self) -> dict[str, int]:
        names = {each.name for each in self._layout.units}
        self._limits = {name: limit for name, limit in self._limits.items() if name in names}
        for unit in self._turn.take(self._layout.units):
            found = [read_maximum(self._host, each) for each in self._layout.policies[unit.name]]
            known = [each for each in found if each is not None]
            if known:
                # What all of it may reach.
                self._limits[unit.name] = min(known)
            else:
                self._limits.pop(unit.name, None)
        return dict(self._limits)
