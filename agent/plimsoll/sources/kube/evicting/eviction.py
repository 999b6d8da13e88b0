"""
How Kubernetes spells an eviction, and what its answer comes to. Pure.

policy/v1 and not v1beta1: that one is gone since Kubernetes 1.25, and the new one is there since 1.22.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from plimsoll.model.eviction import Evict
from plimsoll.model.outcome import Outcome
from plimsoll.sources.kube.status import causes_of, message_of

JSON = "application/json"
_BUDGET = ("reason", "DisruptionBudget")
_TERMINATING = ("reason", "NamespaceTerminating")
_CURE = "grant create on pods/eviction to this account with a ClusterRole"


class Verdict(NamedTuple):
    """What an answer means. ``away``: the server could not, whatever was asked; ask nothing for a while."""

    outcome: Outcome
    detail: str = ""
    away: bool = False


def path_of(evict: Evict) -> str:
    """Where it is asked for."""
    return f"/api/v1/namespaces/{evict.namespace}/pods/{evict.name}/eviction"


def body_of(evict: Evict) -> dict[str, Any]:
    """What is asked. Names are used again: with the UID, another pod of this name is not touched (409)."""
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": evict.namespace, "name": evict.name},
        "deleteOptions": {"preconditions": {"uid": evict.pod}},
    }


def judge(status: int, content: Mapping[str, object]) -> Verdict:
    """What an HTTP status with its Status object means for the pod that was to go."""
    said = f"evict: {status} {message_of(content)}".rstrip()
    causes = set(_hashable(causes_of(content)))
    match status:
        case 200 | 201:
            return Verdict(Outcome.OK)
        case 404 | 409:
            return Verdict(Outcome.GONE, said)
        case 429 if _BUDGET in causes:
            words = ", ".join(str(text) for key, text in causes if key == "message")
            return Verdict(Outcome.BUDGET, f"{said} {words}".rstrip())
        case 403 if _TERMINATING in causes:
            return Verdict(Outcome.GONE, said)
        case 403:
            # The cure first: what the server says is long, and lines are cut.
            return Verdict(Outcome.DENIED, f"evict: 403: {_CURE}; {message_of(content)}")
        case _ if status in (401, 429) or status >= 500:
            return Verdict(Outcome.FAILED, said, away=True)
    return Verdict(Outcome.REJECTED, said)


def _hashable(causes: Any) -> Any:
    return ((key, value) for key, value in causes if isinstance(value, str))
