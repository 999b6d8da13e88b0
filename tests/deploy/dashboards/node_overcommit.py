"""One node's memory overcommit: what is saved, what it costs, what the device holds. A description only."""

from __future__ import annotations

from tests.deploy.dashboards.grafana import Panel, Query, Row

_NODE = 'node=~"$node"'
_RATE = "[$__rate_interval]"

OVERCOMMIT = Row(
    "Memory overcommit",
    (
        Panel(
            "Ratio",
            (
                Query(f"plimsoll_overcommit_ratio{{{_NODE}}}", "{{node}}"),
                Query(f"plimsoll_overcommit_target_ratio{{{_NODE}}}", "{{node}} target"),
            ),
            "(In memory + on the device) / in memory, of low-priority pods.",
        ),
        Panel(
            "Low-priority memory",
            (
                Query(f"plimsoll_overcommit_memory_bytes{{{_NODE}}}", "{{node}} in memory, with the page cache"),
                Query(f"plimsoll_overcommit_base_bytes{{{_NODE}}}", "{{node}} in memory"),
                Query(f"plimsoll_overcommit_offloaded_bytes{{{_NODE}}}", "{{node}} on the device only"),
                Query(f"plimsoll_overcommit_swap_cached_bytes{{{_NODE}}}", "{{node}} on both"),
                Query(f"plimsoll_overcommit_gap_bytes{{{_NODE}}}", "{{node}} still to go"),
            ),
            "",
            unit="bytes",
        ),
        Panel(
            "Asked of the kernel, and freed",
            (
                Query(f"sum(rate(plimsoll_pod_reclaim_asked_bytes_total{{{_NODE}}}{_RATE}))", "asked"),
                Query(f"sum(rate(plimsoll_pod_reclaim_freed_bytes_total{{{_NODE}}}{_RATE}))", "freed"),
            ),
            "By memory.reclaim; what DAMON pages out by itself shows in what is on the device.",
            unit="Bps",
        ),
        Panel(
            "How cold memory is found",
            (
                Query(f"plimsoll_overcommit_selector{{{_NODE}}}", "{{node}}: {{selector}}"),
                Query(f"plimsoll_overcommit_selector_passed_over{{{_NODE}}}", "{{node}}: not {{selector}}: {{reason}}"),
            ),
            "docs/policies/overcommit.md has the reasons.",
            maximum=1,
        ),
        Panel(
            "What it costs: pods that wait for swap",
            (Query(f"topk(10, plimsoll_pod_swap_pressure{{{_NODE}}})", "{{namespace}}/{{pod}} ({{source}})"),),
            "Share of time, the ten that wait most.",
            unit="percentunit",
        ),
        Panel(
            "Why nothing is reclaimed",
            (
                Query(f"plimsoll_overcommit_paused{{{_NODE}}}", "{{node}}: {{reason}}"),
                Query(f"count by (reason) (plimsoll_pod_reclaim_paused{{{_NODE}}})", "pods: {{reason}}"),
            ),
            "docs/policies/overcommit.md has the reasons.",
        ),
        Panel(
            "Comes back",
            (Query(f"topk(10, plimsoll_pod_refault_bytes_per_second{{{_NODE}}})", "{{namespace}}/{{pod}}"),),
            "What was moved out and is used again.",
            unit="Bps",
        ),
        Panel(
            "A request now would be of",
            (Query(f"topk(10, plimsoll_pod_reclaim_wanted_bytes{{{_NODE}}})", "{{namespace}}/{{pod}}"),),
            "While the policy only observes, none is made.",
            unit="bytes",
        ),
        Panel(
            "Device",
            (
                Query(f"plimsoll_swap_used_bytes{{{_NODE}}}", "{{device}} used"),
                Query(f"plimsoll_swap_size_bytes{{{_NODE}}}", "{{device}} size"),
            ),
            "",
            unit="bytes",
        ),
        Panel(
            "Device traffic",
            (
                Query(f"rate(plimsoll_swap_written_bytes_total{{{_NODE}}}{_RATE})", "{{device}} written"),
                Query(f"rate(plimsoll_swap_read_bytes_total{{{_NODE}}}{_RATE})", "{{device}} read"),
            ),
            "Writing wears a drive out; overcommit.writeBudget bounds it.",
            unit="Bps",
        ),
        Panel(
            "Dedicated",
            (Query(f"plimsoll_swap_dedicated{{{_NODE}}}", "{{device}} {{reason}}"),),
            "1: the device holds memory of low-priority pods and nothing else.",
            maximum=1,
        ),
        Panel(
            "Reclaims, by outcome",
            (Query(f"sum by (outcome) (rate(plimsoll_reclaims_total{{{_NODE}}}{_RATE}))", "{{outcome}}"),),
            "busy: the kernel found less than it was asked for.",
            unit="ops",
        ),
    ),
)
