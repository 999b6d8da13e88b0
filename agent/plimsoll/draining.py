"""
Bringing memory back from the swap device when the agent ends, as ``overcommit.onExit: drain`` asks.

The device is turned off for a while: nothing else brings all of it back. That is a write like any other, in the
journal before it is made, so whoever comes after a SIGKILL turns the device on again. It must not put limits back: they
stand until this is over, or what comes back would make room for others on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from plimsoll.actuators.applier import Applier
from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.proc import read_swaps
from plimsoll.kernel.swap_device import DeviceName, Unidentified, active_swap, identify
from plimsoll.kernel.swap_room import floor, lacking
from plimsoll.kernel.swap_use import use_of
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Plan
from plimsoll.policies.overcommit_swap import drain_write


class Drained(NamedTuple):
    """
    OK: all is back; BUSY: time was up; HELD: there is no room. ``left``: bytes still on the device, ``None``: unknown.
    ``detail`` is a sentence where there is something to say.
    """

    outcome: Outcome
    left: int | None
    detail: str = ""


def drain(
    applier: Applier, host: HostFs, hierarchies: Hierarchies, config: OvercommitSection, clock: Callable[[], float]
) -> Drained | None:
    """
    Bring it back within ``config.drain_timeout`` seconds; ``None`` where there is no such device in use.

    It is the caller's to put back everything afterwards, and the device on with it.
    """
    if config.swap_device is None:
        return None
    end = clock() + config.drain_timeout
    swaps = read_swaps(host) or ()
    device = identify(host, DeviceName.parse(config.swap_device), {active_swap(host, each) for each in swaps})
    if isinstance(device, Unidentified) or use_of(host, swaps, device) is None:
        return None
    plan = Plan((drain_write(device.path),))
    outcome = Outcome.BUSY
    while outcome is Outcome.BUSY and clock() < end:
        # Each goes on where the last one was cut off.
        outcome = next((each.outcome for each in applier.execute(plan, releases=False)), Outcome.FAILED)
    # Off, nothing is left.
    line = use_of(host, read_swaps(host) or (), device)
    left = 0 if line is None else line.used
    if outcome in (Outcome.OK, Outcome.UNCHANGED):
        return Drained(Outcome.OK, left)
    if outcome is Outcome.BUSY:
        return Drained(outcome, left, "Time was up (overcommit.drainTimeout).")
    return Drained(outcome, left, lacking(host, hierarchies, left, floor(host)))
