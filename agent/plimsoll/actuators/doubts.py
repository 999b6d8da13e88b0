"""
Knobs that stand otherwise than they should, by what is read in every tick anyway: they need not wait for their turn.

It must not judge who changed them, nor what is to be done: whoever looks at the knob itself does.
"""

from __future__ import annotations

from collections.abc import Iterable

from plimsoll.actuators.standing import Place
from plimsoll.model.plan import Knob, Plan
from plimsoll.model.snapshot import PodSample


def doubted(pods: Iterable[PodSample], plan: Plan) -> frozenset[Place]:
    """
    The writes of the plan that were not in force when these pods were observed.

    Limits of swap only: `systemctl daemon-reload` lifts them, and until they are back others' memory may go to the
    device. Of containers they are not read; a pod's own holds for them, too.
    """
    limits = {
        each.cgroup: each.memory.swap_limit for each in pods if each.memory is not None and each.memory.swap_limited
    }
    return frozenset(
        each.key
        for each in plan.writes
        if each.knob is Knob.MEMORY_SWAP_MAX
        and each.target.path in limits
        and str(limits[each.target.path]) != each.value
    )
