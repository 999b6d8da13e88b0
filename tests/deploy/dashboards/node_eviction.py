"""One node's evictions: who waits for what, who went for it, and why nobody does. A description only."""

from __future__ import annotations

from tests.deploy.dashboards.grafana import Panel, Query, Row

_NODE = 'node=~"$node"'
# Nobody waits too much, or goes, on most nodes at most times.
_NONE = "or vector(0)"

EVICTION = Row(
    "Evictions",
    (
        Panel(
            "Who waits too much",
            (Query(f"max by (resource) (plimsoll_eviction_stall_ratio{{{_NODE}}}) {_NONE}", "{{resource}}"),),
            "Share of time, smoothed, of the high-priority pod that waits most for each resource.",
            unit="percentunit",
            width=8,
        ),
        Panel(
            "Evictions in an hour",
            (
                Query(
                    f"sum by (outcome) (increase(plimsoll_evictions_total{{{_NODE}}}[1h])) {_NONE}",
                    "{{outcome}}",
                ),
                Query(f"sum(increase(plimsoll_evictions_observed_total{{{_NODE}}}[1h]))", "would have been"),
            ),
            "ok: it went. budget: a PodDisruptionBudget did not let it. Runbooks: PlimsollEvictions….",
            width=8,
        ),
        Panel(
            "Why nobody is evicted",
            (Query(f"count by (reason) (plimsoll_eviction_paused{{{_NODE}}}) {_NONE}", "{{reason}}"),),
            "Although one has waited for too long. docs/policies/eviction.md has the reasons.",
            width=8,
        ),
    ),
)
