"""The share of time lost to each cause since the tick before, from the totals of two ticks."""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll.model.pressure import Pressure


class StallRates:
    """The totals of one pod as the last tick saw them."""

    def __init__(self) -> None:
        self._totals: dict[str, tuple[int | None, int | None]] = {}

    def forget(self) -> None:
        """The cgroup is another one, or none: its counters have nothing to do with those seen so far."""
        self._totals = {}

    def advance(
        self, pressures: Iterable[Pressure], interval: float | None
    ) -> dict[str, tuple[float | None, float | None]]:
        """
        (some, full) by cause, as shares of ``interval`` seconds.

        ``None`` for the first tick, for a counter that went backwards and for an interval that is none.
        """
        rates: dict[str, tuple[float | None, float | None]] = {}
        totals: dict[str, tuple[int | None, int | None]] = {}
        for each in pressures:
            now = (
                each.some.total_us if each.some is not None else None,
                each.full.total_us if each.full is not None else None,
            )
            before = self._totals.get(each.cause, (None, None))
            totals[each.cause] = now
            rates[each.cause] = (_rate(before[0], now[0], interval), _rate(before[1], now[1], interval))
        self._totals = totals
        return rates


def _rate(before: int | None, now: int | None, interval: float | None) -> float | None:
    if before is None or now is None or interval is None or interval <= 0 or now < before:
        return None
    return (now - before) / 1e6 / interval
