"""How long a pod was kept off the CPU by quotas, added up over the lives of its cgroup and its containers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

# Microseconds and periods. A bare tuple: one is made for every container in every tick.
Throttled = tuple[int, int]


@dataclass(slots=True)
class _Monotonic:
    """Adds up a counter over the lives of its cgroup: a value that went backwards starts a new epoch, not a loss."""

    total: int = 0
    last: int = 0

    def advance(self, value: int) -> None:
        self.total += value - self.last if value >= self.last else value
        self.last = value


@dataclass(slots=True)
class _Level:
    """One cgroup's share of the sum."""

    microseconds: _Monotonic = field(default_factory=_Monotonic)
    periods: _Monotonic = field(default_factory=_Monotonic)

    def advance(self, now: Throttled) -> None:
        self.microseconds.advance(now[0])
        self.periods.advance(now[1])


class PodThrottle:
    """
    The throttling of one pod, its own and its containers' added up.

    ``cpu.stat`` counts only the throttling by a group's own quota, so the levels are summed; while both are throttled
    at once the time counts twice.
    """

    def __init__(self) -> None:
        self._own = _Level()
        self._containers: dict[str, _Level] = {}
        # What containers that are gone had added: a sum that loses a summand would look like a counter reset.
        self._buried_microseconds = 0
        self._buried_periods = 0

    def bury(self, container: str) -> None:
        """A container is gone; what it had added stays in the sum."""
        level = self._containers.pop(container, None)
        if level is not None:
            self._buried_microseconds += level.microseconds.total
            self._buried_periods += level.periods.total

    def advance(self, own: Throttled | None, containers: Iterable[tuple[str, Throttled | None]]) -> Throttled | None:
        """The sum after this tick's counters of the pod and of its containers; ``None`` where no level has one."""
        seen = own is not None
        if own is not None:
            self._own.advance(own)
        for container, now in containers:
            if now is not None:
                seen = True
                level = self._containers.get(container)
                if level is None:
                    level = self._containers[container] = _Level()
                level.advance(now)
        if not seen:
            return None
        levels = (self._own, *self._containers.values())
        return (
            self._buried_microseconds + sum(level.microseconds.total for level in levels),
            self._buried_periods + sum(level.periods.total for level in levels),
        )
