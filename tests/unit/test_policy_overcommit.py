"""The overcommit policy as a whole: who is asked for how much, and every reason why nobody is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import pytest

from plimsoll.config.overcommit_section import OvercommitSection
from plimsoll.model.kdamonds import CLAIMED
from plimsoll.model.memory import Offload, SwapDevice
from plimsoll.model.overcommit import Overcommit, Pause
from plimsoll.model.plan import Knob, Reclaim, Selector, Watch
from plimsoll.model.pod import Priority
from plimsoll.model.snapshot import CgroupState, PodSample
from plimsoll.policies.overcommit import DEVICE as LACKS_DEVICE
from plimsoll.policies.overcommit import MAX_TOTAL, POLICY, State, decide
from plimsoll.policies.overcommit_pod import MAX_RECLAIM
from plimsoll.policies.overcommit_swap import PAGE
from plimsoll.policies.policy import Decision
from plimsoll.simulator.paging import PodMemoryModel
from plimsoll.simulator.paging_node import PagingNode
from tests.fixtures.colocated import GIB, UID, path, sample
from tests.fixtures.paging import DEVICE, MIB, STOCK, low, memory, node, section

GENERATIONS = (*STOCK, "lru-gen")


class Run(NamedTuple):
    decision: Decision[State]
    at: float

    @property
    def figures(self) -> Overcommit:
        assert self.decision.overcommit is not None
        return self.decision.overcommit

    def pause(self, number: int = 1) -> Pause:
        return next(each.pause for each in self.figures.pods if each.uid == UID.format(number))


def settled(
    *pods: PodSample,
    config: OvercommitSection | None = None,
    seconds: float = 150.0,
    device: SwapDevice | None = DEVICE,
    capabilities: tuple[str, ...] = STOCK,
    total: int = 64 * GIB,
    looked: bool = True,
) -> Run:
    """
    The decision of the moment when these pods have been there for so long, unchanged, and were never asked yet.

    ``looked``: as if the kernel had been made to look at all of their memory nevertheless.
    """
    config = section() if config is None else config
    state, at = State(), 1000.0
    decision = decide(node(*pods, at=at, device=device, capabilities=capabilities, total=total), config, state)
    # Held back meanwhile, so that what is looked at is the first request.
    held = replace(device, dedicated=False) if device is not None else None
    while at < 1000.0 + seconds - 10.0:
        at += 5.0
        decision = decide(
            node(*pods, at=at, device=held, capabilities=capabilities, total=total), config, decision.state
        )
    if looked:
        known = tuple(
            (uid, each._replace(course=each.course._replace(looked=True))) for uid, each in decision.state.pods
        )
        decision = replace(decision, state=decision.state._replace(pods=known))
    return then(Run(decision, at), *pods, config=config, device=device, capabilities=capabilities, total=total)


def then(
    run: Run,
    *pods: PodSample,
    config: OvercommitSection | None = None,
    after: float = 10.0,
    device: SwapDevice | None = DEVICE,
    capabilities: tuple[str, ...] = STOCK,
    offloads: dict[str, Offload] | None = None,
    total: int = 64 * GIB,
) -> Run:
    """The next decision."""
    at = run.at + after
    seen = node(*pods, at=at, device=device, capabilities=capabilities, offloads=offloads, total=total)
    return Run(decide(seen, section() if config is None else config, run.decision.state), at)


def test_the_first_request() -> None:
    """Half a hundredth of what it has, of the pod's own cgroup, once; and its watch beside it."""
    run = settled(low())
    (reclaim,) = run.decision.reclaims
    assert reclaim == Reclaim(
        UID.format(1), reclaim.target, int(1.28 * MIB) // PAGE * PAGE, "overcommit", reclaim.reason, 200
    )
    assert reclaim.target.path == path(1)
    (watch,) = run.decision.watches
    assert watch.pod == UID.format(1)
    assert [each.path for each in watch.targets] == [path(1), f"{path(1)}/c0.scope"]
    assert (watch.selector, watch.rate) == (Selector.PLAIN, 0)


def test_the_first_request_is_to_make_the_kernel_look() -> None:
    """As small as can be; then the pod has the window to use again what it uses, and the usual step comes after it."""
    run = settled(low(), looked=False)
    assert run.decision.reclaims[0].size == 2 * PAGE
    for _ in range(17):
        run = then(run, low(), offloads={UID.format(1): Offload(asked=2 * PAGE)})
        assert (run.pause(), run.decision.reclaims) == (Pause.LOOKING, ())
    run = then(run, low(), offloads={UID.format(1): Offload(asked=2 * PAGE)})
    assert run.decision.reclaims[0].size == int(1.28 * MIB) // PAGE * PAGE


@pytest.mark.parametrize("capability", ["lru-gen", "damon"])
def test_who_knows_what_is_cold_needs_no_look(capability: str) -> None:
    """A selector has looked at all of it already."""
    pod = low(1, memory(cold=160 * MIB))
    run = settled(pod, looked=False, capabilities=(*STOCK, capability), total=GIB)
    run = then(run, pod, capabilities=(*STOCK, capability), total=GIB)
    assert run.pause() is Pause.NONE
    assert run.decision.reclaims or run.decision.watches[0].rate


def test_a_request_that_took_too_much_is_followed_by_a_look() -> None:
    """The kernel had to look far for it, whichever way the memory was found; of the swap cache it says nothing."""
    for capability, pause in (("lru-gen", Pause.LOOKING), ("", Pause.LOOKING), ("damon", Pause.NONE)):
        pod = low(1, memory(cold=160 * MIB))
        capabilities = (*STOCK, capability)
        run = settled(pod, capabilities=capabilities, total=GIB)
        for exceeded in (0, 1, 1):
            offloads = {UID.format(1): Offload(asked=MIB, exceeded=exceeded)}
            run = then(run, pod, capabilities=capabilities, total=GIB, offloads=offloads)
            assert run.pause() is (pause if exceeded else Pause.NONE)


def test_only_at_the_interval() -> None:
    """In the ticks between, watches and writes stand, and nothing is asked for."""
    run = settled(low())
    soon = then(run, low(), after=5.0)
    assert soon.decision.reclaims == ()
    assert soon.decision.writes == run.decision.writes
    assert soon.decision.watches == run.decision.watches
    assert len(then(soon, low(), after=5.0).decision.reclaims) == 1


def test_where_the_device_was_pulled_out() -> None:
    """The kernel would still send memory there, so nobody may swap, of whatever priority; no memory is asked for."""
    gone = replace(DEVICE, active=False, removed=True)
    run = settled(low(1), low(2, reclaim=False), sample(3, Priority.HIGH), device=gone)
    assert run.figures.pause is Pause.NO_DEVICE
    assert not run.decision.reclaims
    assert {(each.target.path, each.value) for each in run.decision.writes} == {
        (each.cgroup, "0") for each in (low(1), low(2), sample(3, Priority.HIGH))
    }
    assert {each.reason for each in run.decision.writes} == {
        "the swap device is gone, and the kernel would still write to it"
    }


@pytest.mark.parametrize(
    ("changes", "device", "capabilities", "pause", "missing"),
    [
        ({"ratio": 1.0}, DEVICE, STOCK, Pause.OFF, ()),
        ({"swapDevice": None}, DEVICE, STOCK, Pause.NO_DEVICE, (LACKS_DEVICE,)),
        ({}, None, STOCK, Pause.NO_DEVICE, (LACKS_DEVICE,)),
        ({}, replace(DEVICE, active=False), STOCK, Pause.NO_DEVICE, (LACKS_DEVICE,)),
        ({}, replace(DEVICE, size=None), STOCK, Pause.NO_DEVICE, (LACKS_DEVICE,)),
        ({}, DEVICE, ("memory-reclaim",), Pause.NO_LIMIT, ("swapfile", "swap-limit")),
        ({}, DEVICE, ("swap-limit",), Pause.NO_RECLAIM, ("memory-reclaim",)),
    ],
)
def test_what_makes_it_impossible(
    changes: dict[str, object],
    device: SwapDevice | None,
    capabilities: tuple[str, ...],
    pause: Pause,
    missing: tuple[str, ...],
) -> None:
    """Nothing at all is wanted, so all is put back, and what is missing has a name."""
    run = settled(low(), config=section(**changes), device=device, capabilities=capabilities)
    wanted = run.decision
    assert (wanted.writes, wanted.watches, wanted.reclaims) == ((), (), ())
    assert (run.figures.pause, wanted.lacking) == (pause, missing)


@pytest.mark.parametrize(
    ("device", "pause"),
    [
        (replace(DEVICE, dedicated=False), Pause.SHARED),
        (replace(DEVICE, used=int(3.3 * GIB)), Pause.DEVICE_FULL),
        (replace(DEVICE, used=None), Pause.DEVICE_FULL),
        (replace(DEVICE, written=1 << 40), Pause.WRITE_BUDGET),
    ],
)
def test_what_stops_all(device: SwapDevice, pause: Pause) -> None:
    """No pod is asked; the limits stay, or the device would be shared all the more."""
    before = settled(low())
    run = then(before, low(), device=device)
    assert (run.figures.pause, run.decision.reclaims) == (pause, ())
    assert run.decision.writes == before.decision.writes


def test_a_shared_device_can_be_allowed() -> None:
    """And one of which it is not known is not known to be shared."""
    shared = replace(DEVICE, dedicated=False)
    allowed = section(stopWhenShared=False)
    assert then(settled(low(), device=shared), low(), config=allowed, device=shared).decision.reclaims
    assert settled(low(), device=replace(DEVICE, dedicated=None)).decision.reclaims


def test_zram_has_no_write_budget() -> None:
    """It is memory, and wears nothing out."""
    zram = replace(DEVICE, kind="zram")
    run = then(settled(low(), device=zram), low(), device=replace(zram, written=1 << 40))
    assert run.decision.reclaims
    assert run.figures.write_budget is None


def test_high_pressure_stops_all_at_once() -> None:
    """Also between two requests: what DAMON pages out by itself is stopped."""
    waiting = replace(sample(9, Priority.HIGH), stall_rates={"memory": (0.2, None)})
    capabilities = (*STOCK, "damon")
    run = settled(low(), capabilities=capabilities, total=GIB)
    assert run.decision.watches[0].rate > 0
    alarmed = then(run, low(), waiting, after=5.0, capabilities=capabilities, total=GIB)
    assert (alarmed.figures.pause, alarmed.decision.watches[0].rate) == (Pause.HIGH_PRESSURE, 0)


def test_reached() -> None:
    """Half is on the device: 2.0. With a little less, still; with much less, no more."""
    run = settled(low(1, memory(128 * MIB, 128 * MIB)))
    assert (run.figures.pause, run.figures.ratio, run.decision.reclaims) == (Pause.REACHED, 2.0, ())
    run = then(run, low(1, memory(131 * MIB, 125 * MIB)))
    assert run.figures.reached
    assert not then(run, low(1, memory(160 * MIB, 96 * MIB))).figures.reached


def test_budget() -> None:
    """No more than what they have too much is asked for."""
    config = section(target="budget", budget="255Mi")
    assert settled(low(), config=config).decision.reclaims[0].size == MIB
    assert settled(low(), config=section(target="budget", budget="1Gi")).figures.pause is Pause.REACHED


@pytest.mark.parametrize(
    ("pod", "pause"),
    [
        (low(1, reclaim=False), Pause.OWNER),
        (low(1, memory(60 * MIB)), Pause.FLOOR),
        (low(1, memory(protected=256 * MIB)), Pause.FLOOR),
        (low(1, floor=256 * MIB), Pause.FLOOR),
        (low(1, memory(65 * MIB, 200 * MIB)), Pause.CAPPED),
        (low(1, memory(swapped=32 * MIB, swap_limited=True, swap_limit=33 * MIB)), Pause.CAPPED),
        (
            low(1, memory(swapped=32 * MIB, swap_limited=True, swap_limit=32 * MIB, protected=128 * MIB)),
            Pause.FLOOR,
        ),
        (low(1, memory(swapped=32 * MIB, swap_limited=True, swap_limit=None)), Pause.NONE),
        (low(1, stalls=(0.0, None)), Pause.NONE),
        (low(1, memory(refaulted=None), stalls=(0.0, None)), Pause.UNKNOWN),
    ],
)
def test_what_stops_one(pod: PodSample, pause: Pause) -> None:
    """The other pod is asked as ever."""
    other = low(2, memory(1024 * MIB))
    run = settled(pod, other)
    assert run.pause() is pause
    asked = {each.pod for each in run.decision.reclaims}
    assert asked == {UID.format(2)} | ({UID.format(1)} if pause is Pause.NONE else set())


def test_the_floor_is_never_crossed() -> None:
    """Only what is above the pod's own memory.min is asked for: the kernel would take it all."""
    kept = 256 * MIB - 2 * PAGE
    assert settled(low(1, memory(protected=kept))).decision.reclaims[0].size == 2 * PAGE


def test_what_was_read_back_takes_room_of_the_limit() -> None:
    """The kernel counts it against the pod's limit on the device, so only what that leaves is asked for."""
    held = memory(swapped=40 * MIB, swap_cached=30 * MIB, swap_limited=True, swap_limit=41 * MIB + 2 * PAGE)
    assert settled(low(1, held)).decision.reclaims[0].size == 2 * PAGE


def test_no_pod_carries_more_than_its_part() -> None:
    """Three quarters of it may go, and it has given all of that but three pages."""
    given = 192 * MIB - 3 * PAGE
    run = settled(low(1, memory(256 * MIB - given, given)), low(2, memory(1024 * MIB)), config=section(podFloor=0))
    assert {each.pod: each.size for each in run.decision.reclaims}[UID.format(1)] == 3 * PAGE


def test_probation() -> None:
    """A pod that is new, or whose memory is still moving, is left alone."""
    assert settled(low(), seconds=55.0).pause() is Pause.PROBATION
    run = settled(low(), seconds=55.0)
    moved = then(run, low(1, memory(400 * MIB)))
    assert moved.pause() is Pause.PROBATION
    assert then(moved, low(1, memory(400 * MIB)), after=29.0).pause() is Pause.PROBATION
    assert then(moved, low(1, memory(400 * MIB)), after=30.0).pause() is Pause.NONE


def test_the_look_needs_no_probation() -> None:
    """Only memory that stands still; what it is for passes meanwhile, and nothing else is asked for before."""
    config = section(probation="5m")
    assert settled(low(), seconds=25.0, config=config, looked=False).pause() is Pause.PROBATION
    run = settled(low(), seconds=35.0, config=config, looked=False)
    assert run.decision.reclaims[0].size == 2 * PAGE
    pauses = []
    for _ in range(28):
        run = then(run, low(), config=config, offloads={UID.format(1): Offload(asked=2 * PAGE)})
        pauses.append(run.pause())
    assert pauses == [Pause.PROBATION] * 26 + [Pause.NONE] * 2


def test_a_cgroup_made_again_is_a_new_pod() -> None:
    """A static pod keeps its UID."""
    run = settled(low())
    again = replace(low(), cgroup=path(5), container_cgroups=())
    assert then(run, again).pause() is Pause.PROBATION


def test_a_pod_under_way_is_not_asked_again() -> None:
    """Its last request is still being carried out."""
    run = settled(low())
    assert then(run, low(), offloads={UID.format(1): Offload(busy_bytes=1)}).pause() is Pause.BUSY


def test_pods_that_are_not_acted_upon() -> None:
    """Whatever they have, they are not in the ratio, and not asked."""
    unmanaged = replace(sample(3, Priority.LOW, managed=False), memory=memory())
    normal = replace(sample(4, Priority.NORMAL), memory=memory())
    gone = replace(low(5), state=CgroupState.GONE)
    deleting = low(6)
    deleting = replace(deleting, pod=replace(deleting.pod, object=replace(deleting.pod.object, deleting=True)))
    unknown = replace(low(7), memory=None)
    run = settled(low(), unmanaged, normal, gone, deleting, unknown)
    assert {each.pod for each in run.decision.reclaims} == {UID.format(1)}
    assert run.figures.physical == 2 * 256 * MIB
    assert {each.pod for each in run.decision.watches} == {UID.format(1), UID.format(6)}


def test_swap_limits() -> None:
    """The others are closed before a low-priority pod is opened, with its containers; one left alone is closed too."""
    run = settled(low(1, containers=2), low(2, reclaim=False), sample(3, Priority.NORMAL), sample(4, Priority.HIGH))
    values = {each.target.path: (each.value, each.phase) for each in run.decision.writes}
    assert {each.knob for each in run.decision.writes} == {Knob.MEMORY_SWAP_MAX}
    closed = {path(2), path(3), path(4)}
    assert {each for each, (value, _) in values.items() if value == "0"} == closed
    opened = {each: value for each, value in values.items() if each not in closed}
    assert set(opened) == {path(1), f"{path(1)}/c0.scope", f"{path(1)}/c1.scope"}
    assert len({value for value, _ in opened.values()}) == 1
    assert max(values[each][1] for each in closed) < values[path(1)][1] < values[f"{path(1)}/c0.scope"][1]
    assert {each.chain for each in run.decision.writes} == {"overcommit"}


def test_openeuler_binds_to_the_device() -> None:
    """Children have a binding of their own there, so containers of both kinds are written."""
    run = settled(low(), sample(2, Priority.HIGH), capabilities=("swapfile", "memory-reclaim"))
    assert {(each.target.path, each.value) for each in run.decision.writes} == {
        (path(1), "/dev/vdb"),
        (f"{path(1)}/c0.scope", "/dev/vdb"),
        (path(2), "none"),
        (f"{path(2)}/c0.scope", "none"),
    }
    assert run.decision.reclaims[0].swappiness == 200


def test_openeuler_binds_to_the_device_as_the_kernel_calls_it() -> None:
    """However it is configured, by a link or a label, memory.swapfile takes a path, and answers with that one."""
    device = replace(DEVICE, path="LABEL=low")
    run = settled(low(), device=device, capabilities=("swapfile", "memory-reclaim"))
    assert {each.value for each in run.decision.writes} == {"/dev/vdb"}


def test_a_device_without_a_path_cannot_be_bound_to() -> None:
    """While the kernel has no path for it there is nothing to write."""
    device = replace(DEVICE, device_path=None)
    run = settled(low(), device=device, capabilities=("swapfile", "memory-reclaim"))
    assert run.figures.pause is Pause.NO_LIMIT


def test_one_request_and_all_of_them_are_bounded() -> None:
    """However much there is: what is asked for takes well under a second of the kernel's time."""
    config = section(step={"start": 0.2, "largest": 0.2}, writeBudget="1Gi")
    device = replace(DEVICE, size=1 << 42)
    run = settled(*(low(number, memory(64 * GIB)) for number in range(1, 6)), config=config, device=device)
    sizes = [each.size for each in run.decision.reclaims]
    assert max(sizes) == MAX_RECLAIM
    assert sum(sizes) == MAX_TOTAL


def test_who_was_not_asked_comes_first() -> None:
    """What is left of a bound goes round."""
    config = section(step={"start": 0.2, "largest": 0.2}, writeBudget="1Gi")
    device = replace(DEVICE, size=1 << 42)
    pods = [low(number, memory(64 * GIB)) for number in range(1, 6)]
    run = settled(*pods, config=config, device=device)
    first = {each.pod for each in run.decision.reclaims}
    run = then(run, *pods, config=config, device=device)
    assert not first & {each.pod for each in run.decision.reclaims}


def test_who_feels_it_comes_last() -> None:
    """Within the watermark, but not at all is better."""
    config = section(step={"start": 0.2, "largest": 0.2}, watermark=0.05, writeBudget="1Gi")
    device = replace(DEVICE, size=1 << 42)
    feels = [low(number, memory(64 * GIB), stalls=(0.01, 0.01)) for number in (1, 2)]
    quiet = [low(number, memory(64 * GIB)) for number in (3, 4)]
    run = settled(*feels, *quiet, config=config, device=device)
    assert {each.pod for each in run.decision.reclaims} == {UID.format(3), UID.format(4)}


# --- what is cold


def test_only_what_is_cold_is_taken() -> None:
    """Nine tenths of it, and nothing while that is not known or is too little to tell."""
    unknown = settled(low(), capabilities=GENERATIONS)
    assert unknown.pause() is Pause.PROBATION
    assert unknown.decision.watches[0].selector is Selector.MGLRU
    some = settled(low(1, memory(cold=14 * MIB)), capabilities=GENERATIONS)
    assert some.decision.reclaims[0].size == int(14 * MIB * 0.9) // PAGE * PAGE
    # 12.8 MiB are a twentieth of the pod.
    assert settled(low(1, memory(cold=5 * MIB)), capabilities=GENERATIONS).pause() is Pause.WARM


def test_what_was_freed_is_not_cold_any_more() -> None:
    """The same figure again is an old one: only what is left of it may be taken."""
    pod = low(1, memory(cold=14 * MIB))
    run = settled(pod, capabilities=GENERATIONS)
    size = run.decision.reclaims[0].size
    run = then(run, pod, capabilities=GENERATIONS, offloads={UID.format(1): Offload(freed=0)})
    run = then(run, pod, capabilities=GENERATIONS, offloads={UID.format(1): Offload(freed=size)})
    assert run.pause() is Pause.WARM


def test_damon_takes_by_itself_and_its_swap_cache_is_emptied() -> None:
    """A rate instead of requests; then what is still in memory of that, which must not move anything more."""
    capabilities = (*STOCK, "damon")
    run = settled(low(1, memory(listed=256 * MIB)), capabilities=capabilities, total=GIB)
    assert run.decision.reclaims == ()
    (watch,) = run.decision.watches
    assert watch == Watch(UID.format(1), watch.targets, Selector.DAMON, "overcommit", 180.0, 4 * MIB)
    out = low(1, memory(256 * MIB, 15 * MIB, anon=241 * MIB, listed=256 * MIB, swap_cached=15 * MIB))
    run = then(run, out, capabilities=capabilities, total=GIB)
    (flush,) = run.decision.reclaims
    assert (flush.size, flush.written) == (int(0.9 * 15 * MIB) // PAGE * PAGE, True)
    assert then(run, out, capabilities=capabilities, total=GIB).decision.reclaims == ()


def test_a_fresh_figure_is_from_before_what_was_freed_with_it() -> None:
    """The generations are read before memory is reclaimed in the same turn."""
    pod = low(1, memory(cold=14 * MIB))
    run = settled(pod, capabilities=GENERATIONS)
    size = run.decision.reclaims[0].size
    run = then(run, pod, capabilities=GENERATIONS, offloads={UID.format(1): Offload()}, after=5.0)
    fresh = low(1, memory(cold=15 * MIB))
    run = then(run, fresh, capabilities=GENERATIONS, offloads={UID.format(1): Offload(freed=size, asked=size)})
    assert sum(each.size for each in run.decision.reclaims) <= 15 * MIB * 0.9 - size


def test_requests_that_would_be_lost_are_not_made() -> None:
    """While one pod's is under way, nobody is asked, nor is taken to have borne it."""
    pods = low(1), low(2)
    run = settled(*pods)
    assert len(run.decision.reclaims) == 2
    asked = {UID.format(1): Offload(asked=MIB, busy_bytes=MIB), UID.format(2): Offload(asked=MIB)}
    busy = then(run, *pods, offloads=asked)
    assert busy.decision.reclaims == ()
    free = {uid: replace(each, busy_bytes=0) for uid, each in asked.items()}
    assert len(then(busy, *pods, offloads=free, after=1.0).decision.reclaims) == 2


def test_a_request_that_was_not_made_is_no_reason_for_a_larger_one() -> None:
    """The step grows only with what was really asked of the kernel; it is taken with the request after that."""
    run = settled(low())
    sizes = [run.decision.reclaims[0].size]
    for asked in (MIB, MIB, 2 * MIB, 3 * MIB):
        run = then(run, low(), offloads={UID.format(1): Offload(asked=asked)})
        sizes.append(run.decision.reclaims[0].size)
    assert sizes[0] < sizes[1] < sizes[2] == sizes[3] < sizes[4]


def test_of_the_swap_cache_what_nobody_mapped_again_is_freed() -> None:
    """All of it but a last bit, however much was read back, and no more than has come to the device."""
    capabilities = (*STOCK, "damon")
    run = settled(low(1, memory(listed=256 * MIB)), capabilities=capabilities, total=GIB)
    out = memory(240 * MIB, 48 * MIB, anon=212 * MIB, listed=240 * MIB, swap_cached=44 * MIB)
    run = then(run, low(1, out), capabilities=capabilities, total=GIB)
    assert [each.size for each in run.decision.reclaims] == [int(0.9 * 28 * MIB) // PAGE * PAGE]
    less = replace(out, listed=224 * MIB)
    run = then(run, low(1, less), capabilities=capabilities, total=GIB)
    assert [each.size for each in run.decision.reclaims] == [int(0.9 * 12 * MIB) // PAGE * PAGE]
    last = replace(out, listed=213 * MIB)
    assert then(run, low(1, last), capabilities=capabilities, total=GIB).decision.reclaims == ()


def test_rates_are_shared_and_stand() -> None:
    """With room for some only all go slower; none is changed, which costs seconds, while nothing is written."""
    capabilities, pods = (*STOCK, "damon"), [low(number, memory(512 * MIB)) for number in (1, 2, 3, 4)]
    config = section(ratio=3.0)
    run = settled(*pods, config=config, capabilities=capabilities, total=4 * GIB)
    rates = []
    for _ in range(40):
        run = then(run, *pods, config=config, capabilities=capabilities, total=4 * GIB)
        rates.append([each.rate for each in run.decision.watches])
    assert len({tuple(each) for each in rates}) == 1
    assert len(set(rates[0])) == 1
    assert rates[0][0] > 0


@pytest.mark.parametrize(("device", "flushed"), [(DEVICE, 1), (replace(DEVICE, dedicated=False), 0)])
def test_the_swap_cache_is_emptied_unless_all_stops(device: SwapDevice, flushed: int) -> None:
    """What was paged out is still memory when no more may be written; in an alarm nothing is asked for at all."""
    capabilities, spent = (*STOCK, "damon"), section(writeBudget="1Mi")
    run = settled(low(), config=spent, capabilities=capabilities, total=GIB)
    out = low(1, memory(256 * MIB, 15 * MIB, anon=241 * MIB, listed=256 * MIB, swap_cached=15 * MIB))
    full = replace(device, used=DEVICE.size)
    run = then(run, out, config=spent, capabilities=capabilities, total=GIB, device=full)
    assert run.figures.pause is (Pause.DEVICE_FULL if flushed else Pause.SHARED)
    assert len(run.decision.reclaims) == flushed
    # What did not happen is not taken to have.
    later = then(run, out, config=spent, capabilities=capabilities, total=GIB)
    assert len(later.decision.reclaims) == 1 - flushed


def test_what_was_read_back_is_not_flushed() -> None:
    """It is in the swap cache too, and hot: that ran away in the prototype."""
    capabilities = (*STOCK, "damon")
    before = low(1, memory(100 * MIB, 160 * MIB))
    run = settled(before, capabilities=capabilities, total=GIB)
    back = low(1, memory(256 * MIB, 160 * MIB, listed=256 * MIB, swap_cached=160 * MIB))
    assert then(run, back, capabilities=capabilities, total=GIB).decision.reclaims == ()


# --- in the model


def model(*capabilities: str, seconds: float, silent: bool = False) -> tuple[PodMemoryModel, list[Overcommit]]:
    """The standard pod after so many seconds under the policy."""
    pod = sample(1, Priority.LOW)
    memory_of = PodMemoryModel()
    world = PagingNode([pod], {pod.pod.uid: memory_of}, (*STOCK, *capabilities), memory=16 * GIB, silent=silent)
    state, figures = State(), []
    while world.now < seconds:
        decision = decide(world.advance(5.0), section(ratio=3.0), state)
        state = decision.state
        assert decision.overcommit is not None
        figures.append(decision.overcommit)
        world.carry_out(decision.writes, decision.watches, decision.reclaims)
    return memory_of, figures


@pytest.mark.parametrize("capability", ["damon", "lru-gen"])
def test_what_is_cold_goes_without_a_stall(capability: str) -> None:
    """Ten minutes: within a tenth of what the pod needs, and it has not felt it."""
    pod, figures = model(capability, seconds=600.0)
    assert pod.current <= pod.needed * 1.1
    assert pod.stalled <= 0.1
    ratios = [each.ratio or 1.0 for each in figures]
    assert max(after - before for before, after in pairwise(ratios)) < 0.5


@pytest.mark.parametrize("silent", [False, True])
def test_finding_out_costs_no_more_than_its_budget(silent: bool) -> None:
    """Without a selector, also on the classic LRU, whose memory.pressure says nothing."""
    pod, _ = model(seconds=900.0, silent=silent)
    # Ten minutes' worth to begin with, as much as came in since, and one request.
    assert 0.0 < pod.stalled <= 0.6 + 0.9 + 0.3
    assert pod.current <= 160 * MIB


def test_a_pod_whose_memory_became_hot_backs_off() -> None:
    """Nothing is taken from it while it reads back; and it has all of it."""
    pod = sample(1, Priority.LOW)
    memory_of = PodMemoryModel()
    world = PagingNode([pod], {pod.pod.uid: memory_of}, GENERATIONS, memory=16 * GIB)
    state, asked = State(), []
    while world.now < 600.0:
        if world.now == 350.0:
            memory_of.phase(None, 2.6, 40 * MIB)
        decision = decide(world.advance(5.0), section(ratio=3.0), state)
        state = decision.state
        asked.extend((world.now, each.size) for each in decision.reclaims)
        world.carry_out(decision.writes, decision.watches, decision.reclaims)
    assert asked
    assert [each for each in asked if 355.0 <= each[0] <= 500.0] == []
    assert memory_of.current >= 136 * MIB


def test_the_policy_declares_what_it_does() -> None:
    """The registry holds it to that."""
    assert POLICY.reclaims
    assert POLICY.bounds == {Knob.MEMORY_SWAP_MAX, Knob.MEMORY_SWAPFILE, Knob.SWAP, Knob.SWAP_FILE, Knob.DAMON_KDAMONDS}


DAMON = (*STOCK, "damon", "lru-gen")


def claims(run: Run) -> list[str]:
    return [each.value for each in run.decision.writes if each.knob is Knob.DAMON_KDAMONDS]


def test_damon_is_claimed_while_it_is_used() -> None:
    """All kdamonds for as long as it is this node's selector and a pod may give anything, and not a tick longer."""
    run = settled(low(), capabilities=DAMON, total=16 * GIB)
    assert claims(run) == [CLAIMED]
    (watch,) = run.decision.watches
    assert (watch.selector, watch.halt) == (Selector.DAMON, False)
    assert watch.rate > 0
    assert run.decision.reclaims == ()
    assert claims(then(run, capabilities=DAMON, total=16 * GIB)) == []
    assert claims(then(run, low(), capabilities=DAMON, total=256 * GIB)) == []
    assert claims(then(run, low(), capabilities=GENERATIONS, total=16 * GIB)) == []


def test_a_selector_that_was_tried_and_does_not_work_is_passed_by() -> None:
    """Whatever the probe said before: the next best one has the pod, and what is claimed for the first is let go."""
    run = settled(low(), capabilities=DAMON, total=16 * GIB)
    seen = node(low(), at=run.at + 10.0, capabilities=DAMON, total=16 * GIB)
    assert seen.node.swap is not None
    failing = replace(seen, node=replace(seen.node, swap=replace(seen.node.swap, failing=("damon",))))
    decision = decide(failing, section(), run.decision.state)
    assert decision.overcommit is not None
    assert decision.overcommit.selector is Selector.MGLRU
    assert decision.overcommit.passed_over == ((Selector.DAMON, "failing"),)
    assert claims(Run(decision, 0.0)) == []
    plain = decide(failing, section(selector="damon"), run.decision.state)
    assert plain.overcommit is not None
    assert plain.overcommit.selector is Selector.PLAIN
    assert plain.lacking == ("damon",)


@pytest.mark.parametrize("capabilities", [STOCK, DAMON], ids=["asked", "by itself"])
def test_what_a_request_would_be_of_is_told_when_none_is_due(capabilities: tuple[str, ...]) -> None:
    """Also of a pod whose memory DAMON gets at by itself, and nothing of one that may not be asked."""
    first = settled(low(), capabilities=capabilities, total=16 * GIB)
    run = then(first, low(), after=5.0, capabilities=capabilities, total=16 * GIB)
    (pod,) = run.figures.pods
    assert (pod.asked, pod.pause) == (0, Pause.NONE)
    assert 0 < pod.wanted <= MAX_RECLAIM
    young = settled(low(), capabilities=capabilities, seconds=20.0)
    assert (young.figures.pods[0].wanted, young.pause()) == (0, Pause.PROBATION)


def test_nothing_is_said_to_look_for_cold_memory_where_nothing_does() -> None:
    """A node without a device uses no selector, and passes none over."""
    figures = settled(low(), device=None).figures
    assert (figures.pause, figures.selector, figures.passed_over) == (Pause.NO_DEVICE, None, ())


def test_a_budget_is_told_where_it_counts() -> None:
    """And not where the ratio does."""
    assert settled(low(), config=section(target="budget", budget="1Gi")).figures.budget == GIB
    assert settled(low()).figures.budget is None


def test_what_pages_out_by_itself_is_halted_before_harm() -> None:
    """A pod that is being deleted loses its watch's rate at once, and in an alarm all of them do."""
    run = settled(low(), capabilities=DAMON, total=16 * GIB)
    pod = low()
    leaving = replace(pod, pod=replace(pod.pod, object=replace(pod.pod.object, deleting=True)))
    (watch,) = then(run, leaving, capabilities=DAMON, total=16 * GIB, after=5.0).decision.watches
    assert (watch.rate, watch.halt) == (0, True)
    waits = replace(sample(2, Priority.HIGH), stall_rates={"memory": (0.5, None)})
    (watch,) = then(run, low(), waits, capabilities=DAMON, total=16 * GIB, after=5.0).decision.watches
    assert (watch.rate, watch.halt) == (0, True)


@pytest.mark.parametrize("capabilities", [DAMON, GENERATIONS, STOCK])
def test_what_a_pod_protects_is_out_of_the_kernels_reach(capabilities: tuple[str, ...]) -> None:
    """Its limit on the device leaves it what its owner or its own memory.min asks for, whoever pages it out."""
    run = settled(low(1, memory(protected=200 * MIB)), capabilities=capabilities, total=16 * GIB)
    limits = [int(each.value) for each in run.decision.writes if each.knob is Knob.MEMORY_SWAP_MAX]
    assert limits
    assert max(limits) <= 256 * MIB - 200 * MIB
    free = settled(low(), capabilities=capabilities, total=16 * GIB)
    assert min(int(each.value) for each in free.decision.writes if each.knob is Knob.MEMORY_SWAP_MAX) > 56 * MIB
