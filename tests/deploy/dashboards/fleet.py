"""All nodes at once: are the agents well, where do pods wait, what is written, what is saved. A description only."""

from __future__ import annotations

from tests.deploy.dashboards.grafana import Dashboard, Kind, Panel, Query, Row

# Recorded by files/rules.yaml: a fleet's pods have too many series to be added up while somebody looks.
WAITING = "node_priority_cause:plimsoll_pod_pressure_waiting_seconds:rate5m"
STALLED = "node_priority_cause:plimsoll_pod_pressure_stalled_seconds:rate5m"

_AGENTS = Row(
    "Agents",
    (
        Panel(
            "Agents up",
            (Query('sum(up{job="plimsoll"})', "up"),),
            "Scraped by this Prometheus.",
            kind=Kind.FIGURE,
            width=4,
        ),
        Panel(
            "Agents down",
            (Query('count(up{job="plimsoll"} == 0) or vector(0)', "down"),),
            "Runbook: PlimsollAgentDown.",
            kind=Kind.FIGURE,
            width=4,
        ),
        Panel(
            "Alerts firing",
            (Query('count(ALERTS{alertname=~"Plimsoll.*", alertstate="firing"}) or vector(0)', "firing"),),
            "Needs the rules of the chart (prometheus.rules.enabled).",
            kind=Kind.FIGURE,
            width=4,
        ),
        Panel(
            "Sources that do not answer",
            (Query("count(plimsoll_source_up == 0) or vector(0)", "sources"),),
            "API servers and kernels as the agents see them. The last good figures stand meanwhile.",
            kind=Kind.FIGURE,
            width=4,
        ),
        Panel(
            "Configurations refused",
            (Query("count(plimsoll_config_last_reload_successful == 0) or vector(0)", "nodes"),),
            "Nodes that go on with the last good one.",
            kind=Kind.FIGURE,
            width=4,
        ),
        Panel(
            "Versions",
            (Query("count by (version) (plimsoll_build_info)", "{{version}}"),),
            "More than one only during an update.",
            kind=Kind.FIGURE,
            width=4,
        ),
        Panel(
            "Agents' CPU, the ten largest",
            (Query('topk(10, rate(process_cpu_seconds_total{job="plimsoll"}[$__rate_interval]))', "{{node}}"),),
            "Cores.",
        ),
        Panel(
            "Agents' memory, the ten largest",
            (Query('topk(10, process_resident_memory_bytes{job="plimsoll"})', "{{node}}"),),
            "Resident.",
            unit="bytes",
        ),
    ),
)

_PRESSURE = Row(
    "Pressure",
    (
        Panel(
            "Pods that wait, by priority",
            (Query(f"sum by (priority) ({WAITING})", "{{priority}}"),),
            "Seconds waited a second: on the average so many pods have a task that waits, for whatever cause. A pod "
            "that waits for two causes at once counts twice.",
        ),
        Panel(
            "Pods that stand still, by priority",
            (Query(f"sum by (priority) ({STALLED})", "{{priority}}"),),
            "As above, but none of a pod's tasks can run.",
        ),
        Panel(
            "High-priority pods that wait, by cause",
            (Query(f'sum by (cause) ({WAITING}{{priority="high"}})', "{{cause}}"),),
            "What co-location must keep near zero.",
            stacked=True,
        ),
        Panel(
            "Low-priority pods that wait, by cause",
            (Query(f'sum by (cause) ({WAITING}{{priority="low"}})', "{{cause}}"),),
            "What it costs them to give way.",
            stacked=True,
        ),
        Panel(
            "Nodes whose high-priority pods wait most",
            (Query(f'topk(10, sum by (node) ({WAITING}{{priority="high"}}))', "{{node}}"),),
            "Look at these with the node dashboard.",
        ),
        Panel(
            "Pods by priority",
            (Query("count by (priority) (plimsoll_pod_info)", "{{priority}}"),),
            "How the fleet is mixed.",
            stacked=True,
        ),
    ),
)

_POLICIES = Row(
    "Policies",
    (
        Panel(
            "Nodes by policy and mode",
            (
                Query(
                    "count by (policy, mode, status) (plimsoll_policy_status == 1)", "{{policy}} {{mode}}: {{status}}"
                ),
            ),
            "A policy that is `skipped` fails; `missing`: the node lacks something it needs.",
        ),
        Panel(
            "Writes, by outcome",
            (Query("sum by (outcome) (rate(plimsoll_writes_total[$__rate_interval]))", "{{outcome}}"),),
            "What the kernels answer. A value that stands already is not written.",
            unit="wps",
        ),
        Panel(
            "Knobs held, and values that observing policies would write",
            (
                Query("sum(plimsoll_knobs_held)", "held"),
                Query("sum by (policy) (plimsoll_policy_observed_writes)", "{{policy}} would write"),
            ),
            "Held: an original is kept, and put back in the end.",
        ),
        Panel(
            "Wishes of pods' owners that are not followed",
            (Query("sum by (reason) (plimsoll_intent_rejected)", "{{reason}}"),),
            "The owners are told why with config.notices.",
        ),
    ),
)

_FREQUENCY = Row(
    "Frequency groups",
    (
        Panel(
            "The high groups, and what they are for",
            (
                Query('sum(plimsoll_frequency_group_cpus{group="high"})', "high groups"),
                Query("sum(plimsoll_frequency_target_cpus)", "shall have"),
                Query("sum(plimsoll_frequency_demand_cpus)", "high-priority pods use"),
            ),
            "CPUs of all nodes.",
        ),
        Panel(
            "How fast the groups really run",
            (
                Query(
                    "sum by (group) (plimsoll_frequency_group_hertz * plimsoll_frequency_group_cpus) "
                    "/ sum by (group) (plimsoll_frequency_group_cpus and plimsoll_frequency_group_hertz)",
                    "{{group}}",
                ),
            ),
            "Mean over all nodes, by CPU; groups of which every CPU is idle have no frequency.",
            unit="hertz",
        ),
        Panel(
            "CPUs by group",
            (Query("sum by (group) (plimsoll_frequency_group_cpus)", "{{group}}"),),
            "neither: about to leave a high group, or nobody's. Fast, both.",
            stacked=True,
            width=8,
        ),
        Panel(
            "Power of all packages",
            (Query("sum(plimsoll_package_power_watts)", "packages"),),
            "Of the nodes that count it.",
            unit="watt",
            width=8,
        ),
        Panel(
            "Why the high groups changed last",
            (Query("count by (reason) (plimsoll_frequency_last_change == 1)", "{{reason}}"),),
            "Nodes by reason: the node dashboard has what each means.",
            stacked=True,
            width=8,
        ),
        Panel(
            "Cores that joined or left a high group in an hour, the ten nodes with most",
            (Query("topk(10, increase(plimsoll_frequency_moves_total[1h]))", "{{node}}"),),
            "Each takes pods to other CPUs.",
        ),
        Panel(
            "CPUs slower than high-priority pods should have, the ten nodes with most",
            (Query('topk(10, plimsoll_frequency_astray_cpus{group="high"})', "{{node}}"),),
            "While the policy enforces. Runbook: PlimsollHighGroupSlow.",
        ),
    ),
)

_OVERCOMMIT = Row(
    "Memory overcommit",
    (
        Panel(
            "Ratio",
            (
                Query(
                    "1 + sum(plimsoll_overcommit_offloaded_bytes) / (sum(plimsoll_overcommit_base_bytes) > 0)", "fleet"
                ),
                Query(
                    "sum(plimsoll_overcommit_target_ratio * plimsoll_overcommit_base_bytes) "
                    "/ (sum(plimsoll_overcommit_base_bytes) > 0)",
                    "target",
                ),
            ),
            "(In memory + on the device) / in memory, of all low-priority pods; the target by the memory it is for.",
        ),
        Panel(
            "Memory saved",
            (Query("sum(plimsoll_overcommit_offloaded_bytes)", "on the devices only"),),
            "Of low-priority pods.",
            unit="bytes",
        ),
        Panel(
            "What it costs: pods that wait for swap",
            (
                Query("job:plimsoll_pod_swap_pressure:p99", "99th percentile"),
                Query("job:plimsoll_pod_swap_pressure:avg", "average"),
            ),
            "Share of time. The policy keeps each below overcommit.watermark on the average.",
            unit="percentunit",
        ),
        Panel(
            "Asked of the kernels, and freed",
            (
                Query("sum(node:plimsoll_pod_reclaim_asked_bytes:rate5m)", "asked"),
                Query("sum(node:plimsoll_pod_reclaim_freed_bytes:rate5m)", "freed"),
            ),
            "",
            unit="Bps",
        ),
    ),
)

FLEET = Dashboard(
    "plimsoll-fleet",
    "Plimsoll / Fleet",
    "All nodes with an agent. Needs the recording rules of the chart (prometheus.rules.enabled).",
    (_AGENTS, _PRESSURE, _POLICIES, _FREQUENCY, _OVERCOMMIT),
)
