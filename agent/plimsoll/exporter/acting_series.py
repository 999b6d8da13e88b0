"""
The samples of what the policies decided and what became of it. Every label comes from a closed set: no pod is named.

It must not know the text format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from plimsoll.exporter.changes import errno_name, looked, would_change
from plimsoll.exporter.exposition import Sampled
from plimsoll.exporter.families import (
    ACTING_STUCK,
    JOURNAL_FOUND,
    JOURNAL_OK,
    KNOB_DISABLED,
    KNOB_DRIFT,
    KNOBS_HELD,
    POLICY_CONFLICTS,
    POLICY_NOTES,
    POLICY_OBSERVED,
    POLICY_SKIPPED,
    POLICY_STATUS,
    POLICY_WRITES,
    WRITES,
)
from plimsoll.model.acting import Acting, Mode, Report, Status


def acting_samples(acting: Acting) -> Iterator[Sampled]:
    """Every family of acting, in the order of the page."""
    reports = acting.reports
    yield POLICY_STATUS, [((each.policy, each.mode.value, each.status.value), 1) for each in reports]
    yield POLICY_SKIPPED, [((each.policy, why), n) for each in reports for why, n in sorted(each.failures.items())]
    yield POLICY_WRITES, [((each.policy, each.mode.value), each.writes) for each in reports if decided(each)]
    yield POLICY_OBSERVED, [((policy,), count) for policy, count in observed_writes(acting).items()]
    notes = Counter((each.policy, note.reason) for each in reports for note in each.notes)
    yield POLICY_NOTES, sorted(notes.items())
    yield POLICY_CONFLICTS, [((), len(acting.conflicts))]
    yield WRITES, sorted(((policy, knob.value, how.value), n) for (policy, knob, how), n in acting.writes.items())
    yield KNOB_DRIFT, sorted(((knob.value,), count) for knob, count in acting.drifts.items())
    yield KNOB_DISABLED, sorted(((knob.value, errno_name(code)), 1) for knob, code in acting.disabled.items())
    yield KNOBS_HELD, [((), acting.held)]
    yield JOURNAL_OK, [((), int(acting.journal_ok))]
    yield JOURNAL_FOUND, [((acting.journal,), 1)] if acting.journal else []
    yield ACTING_STUCK, [((), acting.stuck_seconds)]


def decided(report: Report) -> bool:
    """Whether what it wants is known."""
    return report.status is not Status.WAITING


def observed_writes(acting: Acting) -> dict[str, int]:
    """For each policy that only observes, how many values would be written now; without those it is not known of."""
    if not looked(acting):
        return {}
    would = Counter(each.write.policy for each in would_change(acting))
    return {each.policy: would[each.policy] for each in acting.reports if each.mode is Mode.OBSERVE and decided(each)}
