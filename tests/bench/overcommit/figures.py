"""What a run of the benchmark comes to: figures from the lines of the watch and the latencies of the workload. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

MIB = 1 << 20
# Recovered: stalled for less than this share of a whole window, as the laws' own threshold is.
CALM_SHARE, CALM_SECONDS = 0.001, 10.0

Line = Mapping[str, float]


class Window(NamedTuple):
    """
    From one moment to another: ``area`` in MiB x s of memory saved against the beginning of the run, ``resident`` MiB
    at the end, stalls in ms, ``written`` MiB, ``cpu`` seconds of whoever reclaims.
    """

    area: float
    resident: float
    memory_stall: float
    io_stall: float
    refaults: int
    written: float
    cpu: float
    seconds: float

    @property
    def stall(self) -> float:
        """The worse of both: which of them sees a swap-in depends on the kernel and the device."""
        return max(self.memory_stall, self.io_stall)

    @property
    def worth(self) -> float:
        """MiB x s saved for each ms of stall; less than one counts as one, as no ratio means much there."""
        return self.area / max(1.0, self.stall)


class Run(NamedTuple):
    """One controller on one seed: a window up to each mark (minutes), the one after the change, and the latencies."""

    controller: str
    seed: int
    marks: Mapping[float, Window]
    after: Window
    recovery: float | None
    latency: Mapping[str, float]
    latency_after: Mapping[str, float]
    service: Mapping[str, float]


def window(lines: Sequence[Line], begin: float, end: float, start: float) -> Window:
    """``lines`` by time; ``begin`` and ``end`` on their clock; ``start``: bytes of the pod when nothing was saved."""
    inside = [each for each in lines if begin <= each["at"] <= end]
    if len(inside) < 2:
        raise ValueError(f"{len(inside)} lines between {begin:.0f} and {end:.0f} s")
    first, last = inside[0], inside[-1]
    area = sum((start - one["current"]) / MIB * (two["at"] - one["at"]) for one, two in pairwise(inside))
    return Window(
        area,
        last["current"] / MIB,
        (last["memory"] - first["memory"]) * 1000,
        (last["io"] - first["io"]) * 1000,
        int(last["refaults"] - first["refaults"]),
        (last["written"] - first["written"]) / MIB,
        last["cpu"] - first["cpu"],
        last["at"] - first["at"],
    )


def recovery(lines: Sequence[Line], change: float) -> float | None:
    """Seconds from the change until a whole ten seconds were calm; ``None`` if none were."""
    after = [each for each in lines if each["at"] >= change]
    for place, begin in enumerate(after):
        end = next((each for each in after[place:] if each["at"] - begin["at"] >= CALM_SECONDS), None)
        if end is None:
            return None
        stalled = max(end["memory"] - begin["memory"], end["io"] - begin["io"])
        if stalled < CALM_SHARE * (end["at"] - begin["at"]):
            return begin["at"] - change
    return None


def table(runs: Sequence[Run], mark: float, ideal: float, reference: str = "oomd") -> list[str]:
    """A row for each controller: medians over its seeds, the spread of the worth, and the ratio to the reference."""
    names = list(dict.fromkeys(each.controller for each in runs))
    found = {name: [each for each in runs if each.controller == name] for name in names}
    reference_worths = [each.marks[mark].worth for each in found.get(reference, [])]
    base = statistics.median(reference_worths) if reference_worths else 0.0
    head = (
        f"{'controller':<12} {'MiB*s':>8} {'resident':>8} {'memory ms':>9} {'io ms':>8} {'refaults':>8} {'mean ms':>8} "
        f"{'p99 ms':>7} {'p999 ms':>8} {'written':>8} {'cpu %':>6} {'MiB*s/ms':>16} {'x ' + reference:>7}"
    )
    rows = [f"after {mark:g} minutes, ideal {ideal:g} MiB", head]
    for name in names:
        at = [each.marks[mark] for each in found[name]]
        worths = [each.worth for each in at]
        middle = statistics.median(worths)
        spread = f"{middle:.1f} ({min(worths):.1f}-{max(worths):.1f})"
        ratio = f"{middle / base:.2f}" if base else "-"
        latency = [each.latency for each in found[name]]
        rows.append(
            f"{name:<12} {_of(at, 'area'):>8.0f} {_of(at, 'resident'):>8.1f} {_of(at, 'memory_stall'):>9.0f} "
            f"{_of(at, 'io_stall'):>8.0f} {_of(at, 'refaults'):>8.0f} {_in(latency, 'mean'):>8.3f} "
            f"{_in(latency, 'p99'):>7.3f} {_in(latency, 'p999'):>8.2f} {_of(at, 'written'):>8.0f} "
            f"{100 * _of(at, 'cpu') / _of(at, 'seconds'):>6.2f} {spread:>16} {ratio:>7}"
        )
    return rows


def change_table(runs: Sequence[Run]) -> list[str]:
    """What the change of the hot part cost each controller, and the other pod all the while."""
    names = list(dict.fromkeys(each.controller for each in runs))
    head = (
        f"{'controller':<12} {'memory ms':>9} {'io ms':>8} {'refaults':>8} {'mean ms':>8} {'p99 ms':>7} "
        f"{'recovered s':>11} {'resident':>8} {'online p99 ms':>13}"
    )
    rows = ["after the change", head]
    for name in names:
        found = [each for each in runs if each.controller == name]
        after = [each.after for each in found]
        recovered = [each.recovery for each in found]
        seconds = "never" if None in recovered else f"{statistics.median(each or 0.0 for each in recovered):.0f}"
        rows.append(
            f"{name:<12} {_of(after, 'memory_stall'):>9.0f} {_of(after, 'io_stall'):>8.0f} "
            f"{_of(after, 'refaults'):>8.0f} {_in([each.latency_after for each in found], 'mean'):>8.3f} "
            f"{_in([each.latency_after for each in found], 'p99'):>7.2f} {seconds:>11} {_of(after, 'resident'):>8.1f} "
            f"{_in([each.service for each in found], 'p99'):>13.4f}"
        )
    return rows


def _of(windows: Sequence[Window], name: str) -> float:
    return statistics.median(float(getattr(each, name)) for each in windows)


def _in(latencies: Sequence[Mapping[str, Any]], name: str) -> float:
    """In milliseconds."""
    return statistics.median(each[name] for each in latencies) / 1000
