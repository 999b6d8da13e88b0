"""One node, or a few: pressure, policies, frequencies, overcommit, evictions, its agent. A description only."""

from __future__ import annotations

from tests.deploy.dashboards.grafana import Dashboard, Kind, Panel, Query, Row, Variable
from tests.deploy.dashboards.node_eviction import EVICTION
from tests.deploy.dashboards.node_frequency import FREQUENCY
from tests.deploy.dashboards.node_overcommit import OVERCOMMIT

_NODE = 'node=~"$node"'
_RATE = "[$__rate_interval]"


def _waiting(priority: str) -> Query:
    series = f'plimsoll_pod_pressure_waiting_seconds_total{{{_NODE}, priority="{priority}"}}'
    return Query(f"sum by (cause) (rate({series}{_RATE}))", "{{cause}}")


_PRESSURE = Row(
    "Pressure",
    (
        Panel(
            "The node waits",
            (Query(f"rate(plimsoll_node_pressure_waiting_seconds_total{{{_NODE}}}{_RATE})", "{{node}} {{cause}}"),),
            "Share of time in which at least one task of the node waits.",
            unit="percentunit",
        ),
        Panel(
            "The node stands still",
            (Query(f"rate(plimsoll_node_pressure_stalled_seconds_total{{{_NODE}}}{_RATE})", "{{node}} {{cause}}"),),
            "Share of time in which none of its tasks can run.",
            unit="percentunit",
        ),
        Panel(
            "High-priority pods that wait, by cause",
            (_waiting("high"),),
            "Seconds waited a second: so many pods on the average.",
            stacked=True,
        ),
        Panel(
            "Low-priority pods that wait, by cause",
            (_waiting("low"),),
            "What it costs them to give way.",
            stacked=True,
        ),
        Panel(
            "Pods that wait most",
            (
                Query(
                    "topk(10, sum by (namespace, pod, priority) "
                    f"(rate(plimsoll_pod_pressure_waiting_seconds_total{{{_NODE}}}{_RATE})))",
                    "{{namespace}}/{{pod}} ({{priority}})",
                ),
            ),
            "Over all causes.",
        ),
        Panel(
            "Memory by priority",
            (Query(f"sum by (priority) (plimsoll_pod_memory_bytes{{{_NODE}}})", "{{priority}}"),),
            "Charged to the pods' cgroups.",
            unit="bytes",
            stacked=True,
        ),
    ),
)

_POLICIES = Row(
    "Policies",
    (
        Panel(
            "What each policy came to",
            (Query(f"plimsoll_policy_status{{{_NODE}}} == 1", "{{node}} {{policy}} {{mode}}: {{status}}"),),
            "In the last tick.",
        ),
        Panel(
            "Values wanted, and what observing policies would write",
            (
                Query(f"sum by (policy, mode) (plimsoll_policy_writes{{{_NODE}}})", "{{policy}} wants ({{mode}})"),
                Query(f"sum by (policy) (plimsoll_policy_observed_writes{{{_NODE}}})", "{{policy}} would write"),
            ),
            "",
        ),
        Panel(
            "Writes, by knob and outcome",
            (Query(f"sum by (knob, outcome) (rate(plimsoll_writes_total{{{_NODE}}}{_RATE}))", "{{knob}} {{outcome}}"),),
            "What the kernel answers.",
            unit="wps",
        ),
        Panel(
            "Knobs others wrote too",
            (Query(f"sum by (knob) (rate(plimsoll_knob_drift_total{{{_NODE}}}{_RATE}))", "{{knob}}"),),
            "Runbook: PlimsollKnobDrift.",
            unit="ops",
        ),
        Panel(
            "Knobs held",
            (Query(f"sum(plimsoll_knobs_held{{{_NODE}}})", "held"),),
            "Their originals are in the journal.",
            kind=Kind.FIGURE,
            width=6,
        ),
        Panel(
            "Knobs given up on",
            (Query(f"sum(plimsoll_knob_disabled{{{_NODE}}}) or vector(0)", "given up on"),),
            "Runbook: PlimsollKnobDisabled.",
            kind=Kind.FIGURE,
            width=6,
        ),
        Panel(
            "The longest write hangs for",
            (Query(f"max(plimsoll_acting_stuck_seconds{{{_NODE}}})", "hangs"),),
            "Runbook: PlimsollActingStuck.",
            unit="s",
            kind=Kind.FIGURE,
            width=6,
        ),
        Panel(
            "Journals that cannot be written",
            (Query(f"count(plimsoll_journal_ok{{{_NODE}}} == 0) or vector(0)", "journals"),),
            "Runbook: PlimsollJournalNotWritable.",
            kind=Kind.FIGURE,
            width=6,
        ),
        Panel(
            "What the policies have to say to pods' owners",
            (Query(f"sum by (policy, reason) (plimsoll_policy_notes{{{_NODE}}})", "{{policy}} {{reason}}"),),
            "",
        ),
        Panel(
            "Wishes of pods' owners that are not followed",
            (Query(f"sum by (reason) (plimsoll_intent_rejected{{{_NODE}}})", "{{reason}}"),),
            "",
        ),
    ),
)

_AGENT = Row(
    "The agent",
    (
        Panel(
            "A tick",
            (Query(f"plimsoll_tick_last_seconds{{{_NODE}}}", "{{node}}"),),
            "How long observing took. Runbook: PlimsollTickLate.",
            unit="s",
        ),
        Panel(
            "Sources",
            (Query(f"plimsoll_source_age_seconds{{{_NODE}}}", "{{node}} {{source}}"),),
            "How old the last good figures are.",
            unit="s",
        ),
        Panel(
            "CPU",
            (Query(f'rate(process_cpu_seconds_total{{job="plimsoll", {_NODE}}}{_RATE})', "{{node}}"),),
            "Cores.",
            width=8,
        ),
        Panel(
            "Memory",
            (Query(f'process_resident_memory_bytes{{job="plimsoll", {_NODE}}}', "{{node}}"),),
            "Resident.",
            unit="bytes",
            width=8,
        ),
        Panel(
            "Series left out",
            (Query(f"plimsoll_series_dropped{{{_NODE}}}", "{{node}}"),),
            "By pressure.maxSeries.",
            width=8,
        ),
        Panel(
            "What this node cannot do",
            (
                Query(
                    f"plimsoll_capability{{{_NODE}}} == 0",
                    "{{node}} {{capability}}",
                ),
            ),
            "`plimsoll doctor` in the agent's pod has the cures.",
            kind=Kind.TABLE,
            width=24,
        ),
    ),
)

NODE = Dashboard(
    "plimsoll-node",
    "Plimsoll / Node",
    "One node or a few.",
    (_PRESSURE, _POLICIES, FREQUENCY, OVERCOMMIT, EVICTION, _AGENT),
    (Variable("node", "plimsoll_build_info", "node", many=True),),
)
