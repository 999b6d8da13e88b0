"""
What overcommit came to on the model of paging (``paging_trial.py``): pictures, rows and a few figures.

It must not know how any of it was decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plimsoll.model.overcommit import Pause
from plimsoll.simulator.chart import Axis, Chart, Line
from plimsoll.simulator.paging import MIB
from plimsoll.simulator.paging_trial import CHANGING, Moment, PodMoment

NODE_COLUMNS = ("second", "ratio", "target", "in_memory_mib", "saved_mib", "pause")
POD_COLUMNS = ("second", "pod", "in_memory_mib", "on_device_mib", "uses_mib", "waited_seconds", "pause")
# Those of a pod that was hurt. Of all others it is told in the rows.
_BACK_OFFS = (Pause.FELT, Pause.STALLED, Pause.REFAULTS)
_ABOVE, _APART = 1.04, 0.03


def ratio_chart(moments: Sequence[Moment]) -> Chart:
    """The ratio, its target, and what is saved."""
    most = max(_in_memory(each) + _saved(each) for each in moments)
    highest = max(max(each.figures.ratio or 1.0, each.figures.target) for each in moments)
    return Chart(
        title="Overcommit on the model of paging",
        across=_minutes(moments),
        left=Axis("ratio", 1, 1 + 1.1 * max(highest - 1, 0.1)),
        right=Axis("MiB", 0, 1.1 * most),
        places=[each.seconds / 60 for each in moments],
        lines=[
            Line("ratio", [each.figures.ratio for each in moments]),
            Line("target", [each.figures.target for each in moments]),
            Line("saved (MiB)", [_saved(each) for each in moments], right=True),
            Line("in memory (MiB)", [_in_memory(each) for each in moments], right=True),
        ],
    )


def pod_chart(moments: Sequence[Moment]) -> Chart:
    """The pod of which cold memory comes into use, and when it was left alone for what it felt."""
    pods = [_changing(each) for each in moments]
    whole = max(each.memory + each.offloaded for each in pods) / MIB
    waited = max(each.waited for each in pods)
    found = [each for each in _BACK_OFFS if any(pod.pause is each for pod in pods)]
    return Chart(
        title=f"A pod backs off: {CHANGING}",
        across=_minutes(moments),
        left=Axis("MiB", 0, whole * (_ABOVE + 0.1)),
        right=Axis("s", 0, 1.5 * max(waited, 1.0)),
        places=[each.seconds / 60 for each in moments],
        lines=[
            Line("in memory (MiB)", [each.memory / MIB for each in pods]),
            Line("uses (MiB)", [each.uses / MIB for each in pods], stepped=True),
            Line("has waited for swap (s)", [each.waited for each in pods], right=True),
            *(
                Line(f"paused: {pause}", _while(pods, pause, whole * (_ABOVE + place * _APART)))
                for place, pause in enumerate(found)
            ),
        ],
    )


def node_rows(moments: Sequence[Moment]) -> Iterator[tuple[object, ...]]:
    """Of all pods together, by :data:`NODE_COLUMNS`."""
    for each in moments:
        figures = each.figures
        yield int(each.seconds), figures.ratio, figures.target, _in_memory(each), _saved(each), figures.pause


def pod_rows(moments: Sequence[Moment]) -> Iterator[tuple[object, ...]]:
    """Of each pod, by :data:`POD_COLUMNS`."""
    for moment in moments:
        for pod in moment.pods:
            sizes = (each / MIB for each in (pod.memory, pod.offloaded, pod.uses))
            yield int(moment.seconds), pod.name, *sizes, pod.waited, pod.pause


def figures_of(moments: Sequence[Moment]) -> dict[str, float | None]:
    """What it came to; ``None`` for a time that has not come."""
    last = moments[-1]
    changing = [_changing(each) for each in moments]
    begun = [now for before, now in zip([None, *changing], changing, strict=False) if _starts(before, now)]
    reached = next((each.seconds for each in moments if each.figures.pause is Pause.REACHED), None)
    return {
        "target": last.figures.target,
        "ratio": round(last.figures.ratio or 1.0, 3),
        "reached_after_seconds": reached,
        "saved_mib": round(_saved(last), 1),
        "saved_mib_mean": round(sum(map(_saved, moments)) / len(moments), 1),
        "written_mib": round(last.written / MIB, 1),
        "back_offs": len(begun),
        "waited_seconds": round(sum(each.waited for each in last.pods), 2),
        "waited_seconds_before_change": round(sum(each.waited for each in _before_change(moments).pods), 2),
    }


def _minutes(moments: Sequence[Moment]) -> Axis:
    return Axis("minutes", 0, moments[-1].seconds / 60)


def _in_memory(moment: Moment) -> float:
    return sum(each.memory for each in moment.pods) / MIB


def _saved(moment: Moment) -> float:
    return sum(each.offloaded for each in moment.pods) / MIB


def _changing(moment: Moment) -> PodMoment:
    return next(each for each in moment.pods if each.name == CHANGING)


def _before_change(moments: Sequence[Moment]) -> Moment:
    """The last one in which that pod used what it used in the beginning."""
    first = _changing(moments[0]).uses
    return [each for each in moments if _changing(each).uses == first][-1]


def _starts(before: PodMoment | None, now: PodMoment) -> bool:
    return now.pause in _BACK_OFFS and (before is None or before.pause is not now.pause)


def _while(pods: Sequence[PodMoment], pause: Pause, height: float) -> list[float | None]:
    """A line as long as the pause: to the moment at which it is over."""
    held = [each.pause is pause for each in pods]
    return [height if now or before else None for before, now in zip([False, *held], held, strict=False)]
