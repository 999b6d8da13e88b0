"""
The observation of one tick, put together from what was read now and what still holds.

It must not know who set a register: that it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Final

from plimsoll.kernel.cpufreq import read_maximum
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.psi_support import Absence
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.model.frequency import Bucket, FrequencySample, Unit
from plimsoll.sources.frequency.kept import Kept
from plimsoll.sources.frequency.layout import Layout, lay_out
from plimsoll.sources.frequency.meter import PowerMeter, SpeedMeter
from plimsoll.sources.frequency.registers import read_classes, read_switches
from plimsoll.sources.frequency.turn import Turn

# A write must be seen before it is taken to have been refused, which is after three seconds; the mailbox of older
# machines takes up to a millisecond for each association.
CLASSES_SECONDS: Final = 2.0
SWITCHES_SECONDS: Final = 5.0
# The firmware may change a performance level, and with it the base frequency, without a word.
LAYOUT_SECONDS: Final = 60.0
# A CPU is on line before cpufreq has a policy for it.
SETTLED_SECONDS: Final = 2.0
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
        self._classes: Kept[str, int] = Kept()
        self._prioritised: Kept[int, bool] = Kept()
        self._turbo_frequency: Kept[int, bool] = Kept()
        self._buckets: Kept[int, tuple[Bucket, ...]] = Kept()
        self._limits: Kept[str, int] = Kept()
        self._turn: Turn[Unit] = Turn(clock, _LIMITS_SECONDS)
        self._ours = False
        self._last: tuple[float, FrequencySample] | None = None
        self._lost = False

    def sample(self, *, ours: bool = False, full: bool = False) -> FrequencySample:
        """
        One observation. Never raises for what the host may answer.

        ``ours``: whether the registers of Speed Select are as this program left them, now or before it was killed.
        ``full``: read everything anew, whatever its age.
        """
        now = self._clock()
        if ours != self._ours:
            # What was read while it was ours is no word on anybody else, nor does it stand in for one.
            full, self._ours = True, ours
            self._only((), ())
        platform = self._speed_select.find(afresh=full or self._lost)
        if isinstance(platform, Absence) and isinstance(self._platform, Platform) and not self._lost and self._last:
            # CPUs went on or off line, and now it does not answer: by the next time that may have passed.
            self._lost = True
            return replace(self._last[1], held_seconds=now - self._last[0])
        self._lost = False
        others = platform is not self._platform
        full = full or others
        if full or now - self._laid_out >= LAYOUT_SECONDS:
            again = SETTLED_SECONDS if others and self._platform is not None else LAYOUT_SECONDS
            self._platform, self._laid_out = platform, now + again - LAYOUT_SECONDS
            self._layout = lay_out(self._host, platform)
        if isinstance(platform, Absence):
            self._only((), ())
        else:
            self._only([each.name for each in platform.units], platform.packages)
            self._look(platform, now, full=full)
        self._look_at_limits(now)
        sample = FrequencySample(
            backend=self._layout.backend,
            units=self._layout.units,
            classes=self._classes.values,
            prioritised=self._prioritised.values,
            turbo_frequency=self._turbo_frequency.values,
            foreign="" if ours else self._foreign(),
            buckets=self._buckets.values,
            limits=self._limits.values,
            megahertz=self._speed.read(self._layout),
            watts=self._power.read(),
            held_seconds=self._held(now) or 0.0,
        )
        self._last = now, sample
        return sample

    def _look(self, platform: Platform, now: float, *, full: bool) -> None:
        # What could not be read is asked for again at once, not when its turn comes.
        if full or now - self._classed >= CLASSES_SECONDS or self._classes.age(now) is not None:
            self._classes.take(read_classes(platform), [each.name for each in platform.units], now)
            self._classed = now
        kept = (self._prioritised, self._turbo_frequency, self._buckets)
        again = any(each.age(now) is not None for each in kept)
        if full or now - self._switched >= SWITCHES_SECONDS or again:
            found = read_switches(platform, self._layout.cores)
            self._prioritised.take(found.prioritised, platform.packages, now)
            self._turbo_frequency.take(found.turbo_frequency, platform.packages, now)
            self._buckets.take(found.buckets, platform.packages, now)
            self._switched = now

    def _only(self, units: Collection[str], packages: Collection[int]) -> None:
        """Forget what Speed Select showed of all but these."""
        self._classes.only(units)
        self._prioritised.only(packages)
        self._turbo_frequency.only(packages)
        self._buckets.only(packages)

    def _held(self, now: float) -> float | None:
        kept = (self._classes, self._prioritised, self._turbo_frequency, self._buckets, self._limits)
        ages = (each.age(now) for each in kept)
        return max((each for each in ages if each is not None), default=None)

    def _foreign(self) -> str:
        """Power shared out by class where every unit is in the class a reset leaves it in is nobody's doing."""
        return "; ".join(self._signs())

    def _signs(self) -> Iterator[str]:
        turbo_frequency, classes = self._turbo_frequency.values, self._classes.values
        for package, on in sorted(self._prioritised.values.items()):
            if not on:
                continue
            moved = [
                each.name for each in self._layout.units if each.package == package and classes.get(each.name, 0) != 0
            ]
            if turbo_frequency.get(package):
                yield f"package {package} has core-power and turbo frequency on"
            elif moved:
                yield f"package {package} has core-power on and {len(moved)} units in another class of service than 0"

    def _look_at_limits(self, now: float) -> None:
        self._limits.only(each.name for each in self._layout.units)
        for unit in self._turn.take(self._layout.units):
            found = [read_maximum(self._host, each) for each in self._layout.policies[unit.name]]
            known = [each for each in found if each is not None]
            # What all of it may reach.
            self._limits.take({unit.name: min(known)} if known else {}, [unit.name], now)
