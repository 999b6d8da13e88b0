"""One node's frequency groups: how large, how fast, at what power, and why they are as they are. A description only."""

from __future__ import annotations

from tests.deploy.dashboards.grafana import Panel, Query, Row

_NODE = 'node=~"$node"'
_HIGH = f'{_NODE}, group="high"'

FREQUENCY = Row(
    "Frequency groups",
    (
        Panel(
            "The high group, and what it is for",
            (
                Query(f"plimsoll_frequency_group_cpus{{{_HIGH}}}", "{{node}} high group"),
                Query(f"plimsoll_frequency_target_cpus{{{_NODE}}}", "{{node}} shall have"),
                Query(f"plimsoll_frequency_demand_cpus{{{_NODE}}}", "{{node}} high-priority pods use"),
            ),
            "CPUs. Whole cores only, so mostly a little more than it shall have; use is that of one tick.",
        ),
        Panel(
            "How fast the groups really run",
            (Query(f"plimsoll_frequency_group_hertz{{{_NODE}}}", "{{node}} {{group}}"),),
            "Mean of their CPUs while these are not idle.",
            unit="hertz",
        ),
        Panel(
            "CPUs by group",
            (Query(f"sum by (group) (plimsoll_frequency_group_cpus{{{_NODE}}})", "{{group}}"),),
            "neither: about to leave the high group, or nobody's. Fast, both.",
            stacked=True,
            width=8,
        ),
        Panel(
            "Cores by group",
            (Query(f"sum by (group) (plimsoll_frequency_group_units{{{_NODE}}})", "{{group}}"),),
            "What is moved is a core with its threads, or all CPUs of one cpufreq policy.",
            stacked=True,
            width=8,
        ),
        Panel(
            "Power of the packages",
            (Query(f"plimsoll_package_power_watts{{{_NODE}}}", "{{node}} package {{package}}"),),
            "Where the node counts it (RAPL), and the chart lets the agent see: frequency.packageEnergy.",
            unit="watt",
            width=8,
        ),
        Panel(
            "Cores that joined or left the high group, in an hour",
            (Query(f"increase(plimsoll_frequency_moves_total{{{_NODE}}}[1h])", "{{node}}"),),
            "Few is good: each takes pods to other CPUs.",
            width=8,
        ),
        Panel(
            "Why the high group changed last",
            (Query(f"plimsoll_frequency_last_change{{{_NODE}}} == 1", "{{node}}: {{reason}}"),),
            "full, used: it grew. unused: it shrank. requests: what pods ask for, or minHighUnits. no-figures: not all "
            "use is known. start: nothing is known yet. fits: other cores, not more or fewer.",
            width=8,
        ),
        Panel(
            "CPUs that run otherwise than their group should",
            (Query(f"plimsoll_frequency_astray_cpus{{{_NODE}}}", "{{node}} {{group}}"),),
            "Slower (high group), faster (low group), while the policy enforces. Runbook: PlimsollHighGroupSlow.",
            width=8,
        ),
        Panel(
            "What sets frequencies",
            (Query(f"plimsoll_frequency_backend{{{_NODE}}} == 1", "{{node}}: {{backend}}"),),
            "tpmi, mailbox: Speed Select.",
        ),
        Panel(
            "What could not be read is taken to be as it was",
            (Query(f"plimsoll_frequency_held_seconds{{{_NODE}}}", "{{node}}"),),
            "For so long. 0: all was read.",
            unit="s",
        ),
    ),
)
