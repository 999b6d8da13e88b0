"""
Whether a decision is what its types say: what is not would fail where it hurts every policy, in the order of writing,
the journal or a metric.

Pure. Whether the policy may have what it wants is ``bounds.py``'s and its neighbours' question.
"""

from __future__ import annotations

import re
from typing import Any

from plimsoll.model.acting import Note
from plimsoll.model.eviction import Eviction
from plimsoll.model.frequency_groups import FrequencyGroups
from plimsoll.model.overcommit import Overcommit
from plimsoll.model.plan import Knob, OnExit, Target, TargetKind, Write
from plimsoll.policies.policy import Decision

# A label value, the reason of an event and the type of a condition: Kubernetes wants this of the last two.
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,63}", re.ASCII)
_MOST_PHASES = 1000


def is_write(write: object) -> bool:
    """Whether all of its fields are what they should be; not whether its value is one of the knob's."""
    return (
        isinstance(write, Write)
        and _is_target(write.target)
        and _are(Knob, write.knob)
        and _are(str, write.value, write.policy, write.reason, write.chain)
        and _are(OnExit, write.on_exit)
        # A flag is an int to Python, and a NaN would leave the order of writing to chance.
        and type(write.phase) is int
        and abs(write.phase) <= _MOST_PHASES
    )


def is_note(note: object) -> bool:
    """Whether it is a note that can be told."""
    if not isinstance(note, Note) or not _are(str, note.pod, note.reason, note.message):
        return False
    return _REASON.fullmatch(note.reason) is not None


def has_figures(decision: Decision[Any]) -> bool:
    """Whether what it says for people and metrics are such figures, where there are any."""
    kinds = ((decision.overcommit, Overcommit), (decision.eviction, Eviction), (decision.frequency, FrequencyGroups))
    return all(figures is None or isinstance(figures, kind) for figures, kind in kinds)


def _is_target(target: object) -> bool:
    return isinstance(target, Target) and _are(TargetKind, target.kind) and _are(str, target.path)


def _are(kind: type, *values: object) -> bool:
    return all(isinstance(each, kind) for each in values)
