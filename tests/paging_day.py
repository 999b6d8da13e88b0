"""
A day of overcommit on the model of paging, for a recording: every reason to stop that the model knows, one by one.

What is decided is carried out, so the day is one of the law that was in force when it was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

from plimsoll.config.loader import parse_config
from plimsoll.config.schema import Config
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import Snapshot
from plimsoll.policies import registry
from plimsoll.simulator.paging import MIB, STANDARD, Part, PodMemoryModel
from plimsoll.simulator.paging_node import PagingNode
from plimsoll.simulator.paging_trial import STOCK, model_pod

TICK_SECONDS, TICKS = 10.0, 130
_OTHERS = {name: {"mode": "off"} for name in ("preemption", "frequency", "ioLimit", "eviction")}
_ENFORCE = {
    "mode": "enforce",
    "ratio": 1.5,
    "swapDevice": "/dev/vdb",
    "selector": "plain",
    "probation": "30s",
    "window": "40s",
}
# It begins carefully, learns by trying, is then told what is cold; in the end it is turned off.
_CONFIGURATIONS = {
    1: {**_ENFORCE, "mode": "observe"},
    5: _ENFORCE,
    45: {**_ENFORCE, "ratio": 2.0, "selector": "damon"},
    126: {**_ENFORCE, "ratio": 1.0},
}
_WEB, _ETL, _SPARK, _TRAIN = (
    model_pod(number, name, priority)
    for number, (name, priority) in enumerate(
        (("web", Priority.HIGH), ("etl", Priority.LOW), ("spark", Priority.LOW), ("train", Priority.LOW)), 1
    )
)


def day(morning: float) -> Iterator[tuple[Snapshot, Config]]:
    """``morning``: when it began, as Unix time."""
    node = PagingNode((_WEB,), {}, (*STOCK, "damon", "lru-gen"), memory=16 << 30)
    spark = PodMemoryModel(STANDARD)
    node.add(_ETL, PodMemoryModel((Part(48 * MIB, 2.6), Part(100 * MIB))))
    node.add(_SPARK, spark)
    events: dict[int, Callable[[], None]] = {
        60: lambda: node.add(_TRAIN, PodMemoryModel(STANDARD)),
        75: lambda: spark.phase(None, 30.0, 80 * MIB),
        95: lambda: _waits(node, 0.2),
        96: lambda: _waits(node, 0.0),
        110: lambda: node.remove(_ETL.pod.uid),
    }
    config = Config()
    past: registry.Past = {}
    for tick in range(1, TICKS + 1):
        if tick in _CONFIGURATIONS:
            config = parse_config(json.dumps({**_OTHERS, "overcommit": _CONFIGURATIONS[tick]}), "the day's")
        if tick in events:
            events[tick]()
        seen = node.advance(TICK_SECONDS)
        decisions, past = registry.decide(registry.configured(config), seen, node.now, past)
        node.carry_out(decisions.plan.writes, decisions.plan.watches, decisions.plan.reclaims)
        yield replace(seen, unix=morning + node.now), config


def _waits(node: PagingNode, share: float) -> None:
    """The high-priority pod waits for memory."""
    waiting = replace(_WEB, stall_rates={"memory": (share, share), "io": (0.0, 0.0)})
    node.pods = tuple(waiting if each.pod.uid == _WEB.pod.uid else each for each in node.pods)
