"""
The families of evictions and their samples: who waits for what, what keeps anybody from going, and how many went.

No pod is named: who it was is the audit log's to say. It must not know the text format.
"""

from __future__ import annotations

from collections.abc import Iterator

from plimsoll.exporter.exposition import Family, Sampled
from plimsoll.model.acting import Acting, Mode, Report
from plimsoll.model.eviction import Pause
from plimsoll.model.outcome import Outcome

EVICTIONS = Family("plimsoll_evictions_total", "counter", "Evictions by outcome.", ("policy", "outcome"))
WOULD_EVICT = Family(
    "plimsoll_evictions_observed_total",
    "counter",
    "Evictions there would have been if the policy did not only observe.",
    ("policy",),
)
LATELY = Family("plimsoll_evictions_last_hour", "gauge", "Those of the last hour, or those that would have been.")
STALL_RATIO = Family(
    "plimsoll_eviction_stall_ratio",
    "gauge",
    "Share of time the pod that waits most waits for the resource, smoothed; only while one waits too much.",
    ("resource",),
)
STALL_SECONDS = Family("plimsoll_eviction_stall_seconds", "gauge", "For how long by now.", ("resource",))
PAUSED = Family(
    "plimsoll_eviction_paused", "gauge", "1 for why nobody is evicted although one has waited too long.", ("reason",)
)

EVICTION_FAMILIES = (EVICTIONS, WOULD_EVICT, LATELY, STALL_RATIO, STALL_SECONDS, PAUSED)
"""In the order of the page."""

# From the start, so that the first of each is a change that can be seen.
_OUTCOMES = (
    *(Outcome.OK, Outcome.GONE, Outcome.BUDGET, Outcome.DENIED),
    *(Outcome.REJECTED, Outcome.HELD, Outcome.FAILED),
)


def eviction_samples(acting: Acting) -> Iterator[Sampled]:
    """Every family there is something to say of; nothing where no policy evicts."""
    deciding = [each for each in acting.reports if each.eviction is not None]
    enforced = {(each.policy, how): 0 for each in deciding if each.mode is Mode.ENFORCE for how in _OUTCOMES}
    counts = {**enforced, **acting.evictions}
    yield EVICTIONS, sorted(((policy, how.value), count) for (policy, how), count in counts.items())
    observed = {each.policy: 0 for each in deciding if each.mode is Mode.OBSERVE}
    yield WOULD_EVICT, sorted(((name,), count) for name, count in {**observed, **acting.evictions_observed}.items())
    for report in deciding:
        yield from _figures(report)


def _figures(report: Report) -> Iterator[Sampled]:
    figures = report.eviction
    if figures is None:
        return
    yield LATELY, [((), figures.lately)]
    worst = {each.resource: each for each in reversed(figures.shortages)}
    yield STALL_RATIO, [((each.resource.value,), each.share) for _, each in sorted(worst.items())]
    yield STALL_SECONDS, [((each.resource.value,), each.seconds) for _, each in sorted(worst.items())]
    yield PAUSED, [((figures.pause.value,), 1)] if figures.pause is not Pause.NONE else []
