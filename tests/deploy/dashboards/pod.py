"""One pod: what it waits for, what memory it has and where, what was asked of it. A description only."""

from __future__ import annotations

from tests.deploy.dashboards.grafana import Dashboard, Kind, Panel, Query, Row, Variable

_POD = 'namespace=~"$namespace", pod=~"$pod"'
_RATE = "[$__rate_interval]"

_PRESSURE = Row(
    "Pressure",
    (
        Panel(
            "Who it is",
            (Query(f"plimsoll_pod_info{{{_POD}}}", "{{pod}}"),),
            "`origin` says who decided the priority, `state` whether its cgroup was found.",
            kind=Kind.TABLE,
            width=24,
        ),
        Panel(
            "It waits, by cause",
            (Query(f"rate(plimsoll_pod_pressure_waiting_seconds_total{{{_POD}}}{_RATE})", "{{pod}} {{cause}}"),),
            "Share of time in which at least one of its tasks waits.",
            unit="percentunit",
        ),
        Panel(
            "It stands still, by cause",
            (Query(f"rate(plimsoll_pod_pressure_stalled_seconds_total{{{_POD}}}{_RATE})", "{{pod}} {{cause}}"),),
            "Share of time in which none of its tasks can run. `derived` throttling is CPU time and may exceed 100 %.",
            unit="percentunit",
        ),
        Panel(
            "The kernel's own averages",
            (Query(f"plimsoll_pod_pressure_ratio{{{_POD}}}", "{{pod}} {{cause}} {{degree}} {{window}}"),),
            "Of the windows in pressure.windows.",
            unit="percentunit",
        ),
        Panel(
            "Its containers wait",
            (
                Query(
                    f"rate(plimsoll_container_pressure_waiting_seconds_total{{{_POD}}}{_RATE})",
                    "{{container}} {{cause}}",
                ),
            ),
            "With pressure.containers.",
            unit="percentunit",
        ),
        Panel(
            "Events that witness a cause",
            (
                Query(
                    f"rate(plimsoll_pod_pressure_events_total{{{_POD}}}{_RATE})",
                    "{{pod}} {{cause}} {{event}}",
                ),
            ),
            "On stock kernels, where nothing times these causes.",
            unit="ops",
        ),
    ),
)

_MEMORY = Row(
    "Memory",
    (
        Panel(
            "Where its memory is",
            (
                Query(f"plimsoll_pod_memory_bytes{{{_POD}}}", "{{pod}} charged"),
                Query(f"plimsoll_pod_offloaded_bytes{{{_POD}}}", "{{pod}} on the device only"),
                Query(f"plimsoll_pod_offloaded_limit_bytes{{{_POD}}}", "{{pod}} at most there"),
                Query(f"plimsoll_pod_memory_floor_bytes{{{_POD}}}", "{{pod}} floor"),
            ),
            "The policy does not take its memory below the floor.",
            unit="bytes",
        ),
        Panel(
            "It waits for swap",
            (Query(f"plimsoll_pod_swap_pressure{{{_POD}}}", "{{pod}} ({{source}})"),),
            "`exact` from pressure.stat, `estimated` on stock kernels.",
            unit="percentunit",
        ),
        Panel(
            "Asked of the kernel, and freed",
            (
                Query(
                    f"rate(plimsoll_pod_reclaim_asked_bytes_total{{{_POD}}}{_RATE})", "{{pod}} asked by {{selector}}"
                ),
                Query(
                    f"rate(plimsoll_pod_reclaim_freed_bytes_total{{{_POD}}}{_RATE})", "{{pod}} freed by {{selector}}"
                ),
            ),
            "By memory.reclaim; what DAMON pages out by itself shows in what is on the device.",
            unit="Bps",
        ),
        Panel(
            "It may yet wait for swap",
            (Query(f"plimsoll_pod_stall_budget_seconds{{{_POD}}}", "{{pod}}"),),
            "Below 0 it has waited for more than it may, and is left alone.",
            unit="s",
        ),
        Panel(
            "Its step, and what comes back",
            (
                Query(f"plimsoll_pod_reclaim_step{{{_POD}}}", "{{pod}} step"),
                Query(f"plimsoll_pod_reclaim_paused{{{_POD}}}", "{{pod}} paused: {{reason}}"),
            ),
            "The step is the share of its memory it may lose at once.",
        ),
    ),
)

POD = Dashboard(
    "plimsoll-pod",
    "Plimsoll / Pod",
    "One pod or a few of a namespace.",
    (_PRESSURE, _MEMORY),
    (
        Variable("namespace", "plimsoll_pod_info", "namespace"),
        Variable("pod", 'plimsoll_pod_info{namespace="$namespace"}', "pod", many=True),
    ),
)
