"""
A load trace, second by second, through the policy as the agent runs it, on a node that follows what it decides.

What a group cannot serve in a second is lost, not queued: that counts every CPU that was missing, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.model.frequency import Unit
from plimsoll.model.pod import Priority
from plimsoll.policies.frequency import POLICY, State
from plimsoll.policies.frequency_demand import FULL
from plimsoll.simulator.frequency_node import FrequencyNode

_WEB, _BATCH = 1, 2


class Second(NamedTuple):
    """``need``: CPUs' worth the high-priority pods want; ``cpus`` they had; ``units`` of the high group."""

    need: float
    cpus: int
    units: frozenset[str]


def replay(
    needs: Sequence[float], units: tuple[Unit, ...], config: FrequencySection, *, request_cpus: float = 0.0
) -> Iterator[Second]:
    """
    One :class:`Second` for each need. The high-priority pod asks for ``request_cpus``.

    It waits for CPUs where it wants more than it has, as pressure would show.
    """
    node = FrequencyNode(units)
    pod = node.add(_WEB, Priority.HIGH, request_millis=round(1000 * request_cpus))
    node.add(_BATCH, Priority.LOW)
    state = State()
    for second, need in enumerate(needs):
        cpus = len(pod.cpus)
        yield Second(need, cpus, state.groups.high)
        pod.usage = min(need, cpus)
        pod.waited = max(0.0, need - FULL * cpus) / need if need else 0.0
        decision = POLICY.decide(node.snapshot(float(second)), config, state)
        state = decision.state
        for _ in node.carry_out(decision.writes):
            pass
