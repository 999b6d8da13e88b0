"""Turning the device on: only when the others are kept off, only one that is swap, and not again once it is in use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plimsoll.model.memory import SwapDevice
from plimsoll.model.overcommit import Pause
from plimsoll.model.plan import Knob, OnExit, Write
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import PodSample
from plimsoll.policies.bounds import territory
from plimsoll.policies.overcommit import POLICY, State, decide
from plimsoll.policies.overcommit_swap import drain_write
from tests.fixtures.colocated import path, sample
from tests.fixtures.paging import DEVICE, STOCK, low, memory, node, section

IDLE = replace(DEVICE, active=False, used=None, dedicated=None, headed=True)


def online(limit: int | None = 0, *, known: bool = True) -> PodSample:
    """A high-priority pod with this limit of swap."""
    return replace(sample(2, Priority.HIGH), memory=memory(swap_limit=limit, swap_limited=known))


def decided(
    *others: PodSample, device: SwapDevice = IDLE, ticks: int = 3, capabilities: tuple[str, ...] = STOCK, **said: object
) -> tuple[Write, ...]:
    """What is wanted after so many decisions on the same node, each of which the bounds allow."""
    config = section(**{"activate": True, **said})
    state, at = State(), 1000.0
    writes: tuple[Write, ...] = ()
    for _ in range(ticks):
        seen = node(low(), *others, at=at, device=device, capabilities=capabilities)
        decision = decide(seen, config, state)
        writes, state, at = decision.writes, decision.state, at + 5.0
        assert decision.overcommit is not None
        assert (decision.overcommit.pause is Pause.NO_DEVICE) is not device.active
        refused = [territory(seen).refusal(each, POLICY.name, POLICY.bounds) for each in writes]
        assert set(refused) <= {None}
    return writes


def on(writes: tuple[Write, ...]) -> list[tuple[str, str]]:
    return [(each.target.path, each.value) for each in writes if each.knob is Knob.SWAP]


def test_the_others_are_kept_off_first() -> None:
    """One decision closes them and no low-priority pod is let on; the device follows when all are seen to be closed."""
    first = decided(online(None), ticks=1)
    assert [(each.target.path, each.knob, each.value) for each in first] == [(path(2), Knob.MEMORY_SWAP_MAX, "0")]
    assert on(decided(online(), ticks=1)) == []
    assert on(decided(online(), ticks=2)) == [("/dev/vdb", "32767")]


@pytest.mark.parametrize("other", [online(None), online(4096), online(0, known=False)])
def test_not_while_another_may_swap(other: PodSample) -> None:
    """No limit, one that is not 0, one that is not known: it is not turned on however long that lasts."""
    assert on(decided(online(), other, ticks=20)) == []


def test_openeuler_binds_the_others_first() -> None:
    """There a binding is not read back, but it is asked for a decision before."""
    capabilities = ("swapfile", "memory-reclaim")
    assert on(decided(online(None), ticks=1, capabilities=capabilities)) == []
    assert on(decided(online(None), ticks=2, capabilities=capabilities)) == [("/dev/vdb", "32767")]


@pytest.mark.parametrize("device", [replace(IDLE, headed=False), replace(IDLE, device_path=None)])
def test_not_what_is_no_swap(device: SwapDevice) -> None:
    """Without a header, with somebody else's mark, or not there at all: nothing is written, to nobody."""
    assert decided(online(), device=device) == ()


@pytest.mark.parametrize(("priority", "value"), [(-2, "auto"), (7, "7"), (32767, "32767"), (None, "auto")])
def test_what_is_in_use_stays_as_it_is(priority: int | None, value: str) -> None:
    """It is wanted as it stands, so that nothing is written; whoever turned it on chose how."""
    assert on(decided(online(), device=replace(DEVICE, priority=priority))) == [("/dev/vdb", value)]


def test_what_becomes_of_it_in_the_end() -> None:
    """It stays on, or is emptied and off; without `activate` it is nobody's here."""
    for said, expected in (({}, OnExit.KEEP), ({"onExit": "drain"}, OnExit.RESTORE)):
        (write,) = [each for each in decided(online(), **said) if each.knob is Knob.SWAP]
        assert write.on_exit is expected
    assert decided(online(), activate=False) == ()


def test_activate_needs_a_device() -> None:
    """Said where it is configured."""
    with pytest.raises(ValueError, match="activate needs a swapDevice"):
        section(activate=True, swapDevice=None)


FILE = "/swap/file"
ABSENT = SwapDevice(FILE, active=False, kind="file", device_path=FILE, makeable=True)
MADE = replace(IDLE, path=FILE, device_path=FILE, kind="file", length=1 << 30)
SIZE = {"swapDevice": FILE, "swapFileSize": "1Gi"}


def files(writes: tuple[Write, ...]) -> list[tuple[str, str]]:
    return [(each.target.path, each.value) for each in writes if each.knob is Knob.SWAP_FILE]


def test_a_file_is_made_when_it_may_be_turned_on() -> None:
    """After the others are kept off, in whole pages of any kernel, and nothing is turned on that is not there."""
    assert files(decided(online(None), device=ABSENT, ticks=20, **SIZE)) == []
    assert files(decided(online(), device=ABSENT, ticks=1, **SIZE)) == []
    writes = decided(online(), device=ABSENT, **{**SIZE, "swapFileSize": (1 << 30) + 4097})
    assert files(writes) == [(FILE, str(1 << 30))]
    assert on(writes) == []


@pytest.mark.parametrize("device", [MADE, replace(MADE, active=True)])
def test_a_file_that_is_there_stays_as_it_is(device: SwapDevice) -> None:
    """From the first decision on, so that one from before is not removed meanwhile; whatever its size."""
    for ticks in (1, 3):
        wanted = decided(online(), device=device, ticks=ticks, **{**SIZE, "swapFileSize": "2Gi"})
        assert files(wanted) == [(FILE, str(1 << 30))]
    assert on(wanted)[0][0] == FILE


def test_a_file_goes_after_it_was_turned_off() -> None:
    """One chain: what is undone runs backwards through the phases, and what is in use does not go."""
    for said, expected in (({}, OnExit.KEEP), ({"onExit": "drain"}, OnExit.RESTORE)):
        wanted = {each.knob: each for each in decided(online(), device=MADE, **SIZE, **said)}
        file, use = wanted[Knob.SWAP_FILE], wanted[Knob.SWAP]
        assert (file.on_exit, use.on_exit) == (expected, expected)
        assert file.chain == use.chain == drain_write(FILE).chain != ""
        assert file.phase < drain_write(FILE).phase < use.phase


def test_no_file_unasked() -> None:
    """Without `swapFileSize`, for a block device in the place of the file, and without a folder for it."""
    assert files(decided(online(), device=ABSENT, swapDevice=FILE)) == []
    assert files(decided(online(), device=replace(MADE, kind="block", length=None), **SIZE)) == []
    nowhere = replace(ABSENT, makeable=False, device_path=None)
    assert files(decided(online(), device=nowhere, **SIZE)) == []


def test_a_link_keeps_its_name() -> None:
    """
    In use, the kernel tells the device's own path: the write is of the same target as before, or the first one would be
    undone as no longer wanted.
    """
    link = replace(IDLE, path="/dev/disk/by-id/one", device_path="/dev/disk/by-id/one")
    (before,) = on(decided(online(), device=link))
    (after,) = on(decided(online(), device=replace(link, active=True, priority=32767, device_path="/dev/vdb")))
    assert before == after == ("/dev/disk/by-id/one", "32767")
