"""The parts of the law, each by itself, with numbers worked by hand: ratio, pressure, step, budgets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plimsoll.model.memory import SwapDevice
from plimsoll.model.overcommit import Pause
from plimsoll.model.pressure import Pressure, Source
from plimsoll.policies.overcommit_budget import BURST_SECONDS, Writes, account, life, unworn
from plimsoll.policies.overcommit_pressure import Counters, feel
from plimsoll.policies.overcommit_ratio import Level, cap, level, measure
from plimsoll.policies.overcommit_step import BUDGET_SECONDS, Course, Feeling, begin, live, stride
from tests.fixtures.paging import DEVICE, MIB, low, memory, section


def pod_level(base: int, offloaded: int = 0) -> Level:
    return Level(base, base, offloaded, 0, base)


def test_what_is_read_back_is_not_offloaded() -> None:
    """The trap of the naive ratio: 160 MiB have a place on the device, and all of it is in memory again."""
    found = level(memory(200 * MIB, 160 * MIB, swap_cached=160 * MIB), "anon")
    assert found == Level(200 * MIB, 200 * MIB, 0, 160 * MIB, 40 * MIB)
    again = measure([found], section(ratio=1.5), reached=False)
    assert (again.ratio, again.reached) == (1.0, False)


def test_what_is_on_its_way_to_the_device_is_still_memory() -> None:
    """Found in a guest: 100 MiB under way, counted neither here nor there, were a ratio of 1.45 with 31 MiB saved."""
    found = level(memory(176 * MIB, 106 * MIB, anon=70 * MIB, listed=145 * MIB, swap_cached=75 * MIB), "anon")
    assert found == Level(176 * MIB, 145 * MIB, 31 * MIB, 75 * MIB, 70 * MIB)


def test_what_is_locked_is_on_no_list_for_swap() -> None:
    """It is memory all the same, and cannot be moved."""
    found = level(memory(100 * MIB, listed=60 * MIB, unevictable=40 * MIB), "anon")
    assert found == Level(100 * MIB, 100 * MIB, 0, 0, 60 * MIB)


def test_what_zswap_holds_is_not_offloaded() -> None:
    """Its pool is memory."""
    found = level(memory(100 * MIB, 100 * MIB, zswapped=60 * MIB, swap_cached=10 * MIB), "anon")
    assert found is not None
    assert found.offloaded == 30 * MIB


@pytest.mark.parametrize("missing", ["current", "anon", "swapped"])
def test_a_pod_the_kernel_does_not_tell_about(missing: str) -> None:
    """Unknown is not 0: such a pod has no level at all."""
    assert level(memory(**{missing: None}), "anon") is None  # type: ignore[arg-type]
    assert level(None, "anon") is None


def test_basis() -> None:
    """Page cache counts only where asked for; pages of tmpfs can be swapped and count always."""
    held = memory(300 * MIB, anon=100 * MIB, shmem=20 * MIB, file=200 * MIB)
    anon, total = level(held, "anon"), level(held, "total")
    assert anon is not None
    assert total is not None
    assert (anon.base, total.base, anon.movable, total.movable) == (120 * MIB, 300 * MIB, 120 * MIB, 120 * MIB)


def test_gap_is_what_makes_the_ratio() -> None:
    """Moving exactly the gap out reaches exactly the target."""
    config = section(ratio=1.5)
    before = measure([pod_level(300 * MIB), pod_level(90 * MIB, 60 * MIB)], config, reached=False)
    assert before.gap == 150 * MIB - 60 * MIB
    after = measure(
        [pod_level(300 * MIB - before.gap), pod_level(90 * MIB, 60 * MIB + before.gap)], config, reached=False
    )
    assert (after.ratio, after.gap, after.reached) == (1.5, 0, True)


@pytest.mark.parametrize(
    ("offloaded", "lasting", "reached"), [(50.0, True, True), (45.6, True, False), (45.4, False, False)]
)
def test_hysteresis_of_the_ratio(offloaded: float, lasting: bool, reached: bool) -> None:
    """1.5, once reached, holds down to 1.455; 1.456 is not 1.5 when it was not reached before."""
    pods = [pod_level(100 * MIB, int(offloaded * MIB))]
    assert measure(pods, section(ratio=1.5), reached=True).reached is lasting
    assert measure(pods, section(ratio=1.5), reached=False).reached is reached


def test_a_small_ratio_can_be_lost_again() -> None:
    """0.97 of 1.02 is less than nothing on the device at all."""
    assert not measure([pod_level(100 * MIB)], section(ratio=1.02), reached=True).reached


def test_budget() -> None:
    """Reclaim until they fit; then not before they are 3 % above it."""
    config = section(target="budget", budget="100Mi")
    assert measure([pod_level(101 * MIB)], config, reached=False)[-2:] == (MIB, False)
    assert measure([pod_level(101 * MIB)], config, reached=True).reached
    assert not measure([pod_level(104 * MIB)], config, reached=True).reached
    assert measure([pod_level(100 * MIB)], config, reached=False).reached


def test_no_memory_is_no_ratio() -> None:
    """Nothing to divide by, nothing to do."""
    assert measure([], section(), reached=False) == (0, 0, 0, 0, None, 0, True)


def test_cap() -> None:
    """A ratio of four is three quarters on the device."""
    assert cap(400, 4.0) == 300


# --- pressure


def test_the_kernel_s_own_time_for_swap_counts() -> None:
    """openEuler times it: whatever I/O pressure there is, it is not asked."""
    pod = replace(
        low(stalls=(0.0, 0.9)),
        pressures=(Pressure("swap", Source.PRESSURE_STAT, None, None),),
        stall_rates={"swap": (0.02, None), "io": (0.9, None), "memory": (0.5, None)},
    )
    felt, _ = feel(pod, Counters(), 10.0)
    assert (felt.share, felt.exact) == (0.02, True)


def test_memory_pressure_alone_is_not_believed() -> None:
    """The classic LRU: 2240 refaults, memory.pressure 0.00 s. What I/O pressure and the reads say counts."""
    felt, _ = feel(low(1, memory(refaulted=2240 * 4096), stalls=(0.0, 0.3)), Counters(0), 10.0)
    assert felt.share == 0.3
    assert not felt.exact


def test_a_pod_that_waits_for_its_own_files_does_not_look_as_if_it_swapped() -> None:
    """Ten pages at 10 ms in 10 s explain a hundredth of the time, not all of it."""
    felt, _ = feel(low(1, memory(refaulted=10 * 4096), stalls=(0.0, 0.8)), Counters(0), 10.0)
    assert felt.share == pytest.approx(0.01)
    none, _ = feel(low(1, memory(refaulted=0), stalls=(0.0, 0.8)), Counters(0), 10.0)
    assert none.share == 0.0


def test_memory_pressure_counts_where_it_is_more() -> None:
    """A multi-generational LRU does count some of it."""
    felt, _ = feel(low(1, memory(refaulted=0), stalls=(0.2, 0.1)), Counters(0), 10.0)
    assert felt.share == 0.2


def test_nothing_known_is_not_nothing_felt() -> None:
    """Memory pressure says nothing of swap, so with nothing else it is unknown, also when it is 0."""
    felt, _ = feel(low(1, memory(refaulted=None), stalls=(0.0, None)), Counters(), 10.0)
    assert felt.share is None


def test_the_first_look_takes_io_pressure_whole() -> None:
    """Without two counts nothing bounds it."""
    felt, counters = feel(low(1, memory(refaulted=5), stalls=(0.0, 0.4)), Counters(), 0.0)
    assert (felt.share, felt.returned, counters) == (0.4, None, Counters(5))


def test_counters_that_went_backwards_are_a_first_look() -> None:
    """A cgroup made again."""
    felt, _ = feel(low(1, memory(refaulted=5)), Counters(100), 10.0)
    assert felt.returned is None


# --- step


def feeling(now: float, **changes: object) -> Feeling:
    plain = Feeling(now, 10.0, 200 * MIB, 0.0, 0)
    return plain._replace(**changes)  # type: ignore[arg-type]


def test_the_step_grows_while_nothing_hurts() -> None:
    """By 1.3 for each request, up to the largest."""
    config = section()
    course = replaced(begin(config), looked=True)
    steps = []
    for tick in range(10):
        course = stride(live(course, feeling(tick * 10.0), config), tick * 10.0, config)
        steps.append(course.step)
    assert steps[0] == pytest.approx(0.0065)
    assert steps[-1] == config.step.largest
    assert steps == sorted(steps)


def test_the_stall_budget_is_ten_minutes_of_the_watermark() -> None:
    """0.1 %: 0.6 s may be waited at once, and no more than that in all of the next ten minutes."""
    config = section()
    course = begin(config)
    assert course.stall == pytest.approx(config.watermark * BUDGET_SECONDS) == pytest.approx(0.6)
    course = live(course, feeling(10.0, share=0.055), config)
    assert (course.pause, course.stall, course.floor) == (Pause.FELT, pytest.approx(0.05), 0)
    course = live(course, feeling(20.0, share=0.007), config)
    assert (course.pause, course.floor) == (Pause.STALLED, int(200 * MIB * 1.02))
    assert course.step == config.step.smallest


def test_it_begins_again_when_a_tenth_of_the_budget_is_back() -> None:
    """A minute without any stall, not a single quiet tick; and at first not below the level that hurt."""
    config = section()
    course = live(begin(config), feeling(10.0, share=0.07), config)
    # 0.6 - 0.7, and nothing can be added to a full budget.
    assert course.stall == pytest.approx(-0.1)
    resumed = None
    for tick in range(2, 30):
        course = live(course, feeling(tick * 10.0), config)
        if resumed is None and course.pause is Pause.NONE:
            resumed = tick * 10.0
    assert resumed == pytest.approx(170.0, abs=10.0)
    assert course.floor == int(200 * MIB * 1.02)


def test_a_shock_holds_at_once() -> None:
    """Half of the time lost is too much whatever the budget is, and also where it is known what is cold."""
    config = section(watermark=0.05)
    course = live(begin(config), feeling(10.0, share=0.6, knowing=True), config)
    assert (course.pause, course.hold_until) == (Pause.FELT, 70.0)
    assert course.step == pytest.approx(config.step.largest / 4)


def test_what_was_felt_gives_the_pod_time() -> None:
    """The window, to use again what it uses, or the next request takes the warm for the cold; and again when felt."""
    config = section(window="60s")
    course = live(begin(config), feeling(10.0, share=0.004), config)
    assert (course.pause, course.step) == (Pause.FELT, config.step.start)
    assert live(course, feeling(69.0), config).pause is Pause.FELT
    assert live(course, feeling(70.0), config).pause is Pause.NONE
    assert live(course, feeling(30.0, share=0.004), config).hold_until == 90.0
    assert live(begin(config), feeling(10.0, share=0.002), config).pause is Pause.NONE
    assert live(begin(config), feeling(10.0, share=0.004, knowing=True), config).pause is Pause.NONE


def test_partial_halves() -> None:
    """EAGAIN: there was less than thought."""
    config = section()
    assert live(begin(config), feeling(10.0, partial=True), config).step == pytest.approx(0.0025)


def test_out_of_memory_holds() -> None:
    """Whatever it was, it is no time to take more."""
    config = section()
    course = live(begin(config), feeling(10.0, killed=True), config)
    assert (course.pause, course.hold_until) == (Pause.OOM_KILL, 70.0)


def test_what_was_cold_must_not_come_back() -> None:
    """Where the selector knows what is cold, 0.5 % a minute coming back says that it no longer does."""
    config = section()
    returned = int(200 * MIB * 0.005)
    knowing = live(begin(config), feeling(10.0, knowing=True, returned=returned), config)
    assert knowing.pause is Pause.REFAULTS
    assert knowing.floor_seconds == 120.0
    guessing = live(begin(config), feeling(10.0, returned=returned), config)
    assert guessing.pause is Pause.NONE


def test_the_level_that_hurts_again_is_kept_for_longer() -> None:
    """Twice as long each time at about the same level; another level begins anew."""
    config = section()
    hurt = replaced(begin(config), stall=0.001)
    first = live(hurt, feeling(10.0, share=0.06), config)
    again = live(replaced(first, pause=Pause.NONE, stall=0.001), feeling(1000.0, share=0.06), config)
    assert (first.floor_seconds, again.floor_seconds) == (120.0, 240.0)
    lower = live(replaced(again, pause=Pause.NONE, stall=0.001), feeling(2000.0, share=0.06, current=100 * MIB), config)
    assert lower.floor_seconds == 120.0
    assert lower.floor_at(2119.0) == int(100 * MIB * 1.02)
    assert lower.floor_at(2121.0) == 0


def test_what_comes_back_while_it_hurts_is_what_it_needs() -> None:
    """Cold memory became hot: the floor rises with the pod, and stays there when it is quiet."""
    config = section()
    course = live(begin(config), feeling(10.0, share=0.1), config)
    course = live(course, feeling(20.0, share=0.1, current=240 * MIB), config)
    assert course.floor == int(240 * MIB * 1.02)
    quiet = live(course, feeling(30.0, current=400 * MIB), config)
    assert quiet.floor == course.floor


def test_knowing_what_is_cold_needs_no_finding_out() -> None:
    """The largest step at once; and back to the start when the knowledge is lost."""
    config = section()
    course = live(begin(config), feeling(10.0, knowing=True), config)
    assert course.step == config.step.largest
    assert live(course, feeling(20.0), config).step == config.step.start


def test_harsh_requests_halve_the_step() -> None:
    """Ten times the watermark since the last request is too much, in between it stays."""
    config = section()
    course = replaced(begin(config), looked=True)
    assert stride(replaced(course, waited=0.2, lasted=10.0), 0.0, config).step == pytest.approx(0.0025)
    assert stride(replaced(course, waited=0.05, lasted=10.0), 0.0, config).step == course.step


def test_after_the_first_request_comes_a_look() -> None:
    """For the whole window, and only once; it says nothing of how large the next one may be."""
    config = section(window="40s")
    course = stride(replaced(begin(config), waited=9.0, lasted=10.0), 10.0, config)
    assert (course.pause, course.hold_until, course.step) == (Pause.LOOKING, 50.0, config.step.start)
    assert live(course, feeling(49.0), config).pause is Pause.LOOKING
    course = live(course, feeling(50.0), config)
    assert course.pause is Pause.NONE
    assert stride(course, 50.0, config).pause is Pause.NONE


def test_what_had_to_be_looked_for_far_is_followed_by_a_look() -> None:
    """Whatever else it did; what was felt is told first."""
    config = section()
    course = live(begin(config), feeling(10.0, exceeded=True), config)
    assert (course.pause, course.hold_until, course.looked) == (Pause.LOOKING, 190.0, True)
    assert live(begin(config), feeling(10.0, exceeded=True, share=0.004), config).pause is Pause.FELT


def test_reclaim_that_had_to_look_far_has_found_what_is_in_use() -> None:
    """All it passed by since the request, with a little more; not gone below for half an hour."""
    config = section()
    course = replaced(begin(config), looked=True)
    course = stride(live(course, feeling(10.0, passed_by=50 * MIB), config), 10.0, config)
    course = live(course, feeling(12.0, passed_by=90 * MIB, exceeded=True, aside=4 * MIB), config)
    assert course.floor_at(12.0) == 4 * MIB + int(90 * MIB * 1.02) + MIB
    course = live(course, feeling(14.0, passed_by=10 * MIB, aside=4 * MIB), config)
    assert course.needs_at(14.0) == course.floor_at(14.0) == 4 * MIB + int(100 * MIB * 1.02) + MIB
    course = stride(live(course, feeling(200.0, aside=4 * MIB), config), 200.0, config)
    course = live(course, feeling(202.0, passed_by=90 * MIB), config)
    assert course.needs_at(1811.0) == 4 * MIB + int(100 * MIB * 1.02) + MIB
    assert course.needs_at(1812.0) == 0


def test_a_window_that_was_too_short_grows() -> None:
    """Twice as long each time that what was cold came back or the budget was used up, for two hours."""
    config = section(window="3m")
    course, windows = begin(config), []
    for turn in range(6):
        returned = feeling(1000.0 * turn, knowing=True, returned=4 * MIB)
        course = live(replaced(course, pause=Pause.NONE), returned, config)
        windows.append(course.window(config))
    assert windows == [360.0, 720.0, 1440.0, 2880.0, 2880.0, 2880.0]
    assert live(course, feeling(12_199.0), config).window(config) == 2880.0
    assert live(course, feeling(12_200.0), config).window(config) == 180.0
    spent = live(replaced(begin(config), stall=0.001), feeling(10.0, share=0.06), config)
    assert spent.window(config) == 360.0
    assert replaced(spent, widened=4).window(section(window="1h")) == 3600.0


def test_who_knows_what_is_cold_learns_nothing_from_that() -> None:
    """The selector's figure counts."""
    config = section()
    course = live(begin(config), feeling(10.0, passed_by=90 * MIB, exceeded=True, knowing=True), config)
    assert course.floor_at(10.0) == 0


def replaced(course: Course, **changes: object) -> Course:
    return course._replace(**changes)  # type: ignore[arg-type]


# --- what the device may be written


def written(total: int | None, **changes: object) -> SwapDevice:
    return replace(DEVICE, written=total, **changes)  # type: ignore[arg-type]


def test_five_minutes_worth_at_once_and_the_rate_on_the_average() -> None:
    """What was really written pays, whoever wrote it."""
    writes = account(Writes(), written(1000), float(MIB), 0.0)
    assert writes.allow() == BURST_SECONDS * MIB
    writes = account(writes, written(1000 + 100 * MIB), float(MIB), 10.0)
    assert writes.allow() == 200 * MIB
    writes = account(writes, written(1000 + 100 * MIB), float(MIB), 10.0)
    assert writes.allow() == 210 * MIB


def test_how_long_the_drive_lasts() -> None:
    """A sweep and a quiet time after it count as they were, the last day only; at 1 MiB/s 1 TiB is there in 12 days."""
    writes = account(Writes(), written(0), float(MIB), 0.0)
    assert life(writes, float(1 << 40)) is None
    writes = account(writes, written(900 * MIB), float(MIB), 100.0)
    writes = account(writes, written(900 * MIB), float(MIB), 800.0)
    assert writes.mean == pytest.approx(MIB)
    assert life(writes, float(1 << 40)) == pytest.approx(float(1 << 20))
    for day in range(1, 8):
        writes = account(writes, written((900 + day * 8640) * MIB), float(MIB), 86_400.0)
    assert writes.mean == pytest.approx(MIB / 10)


def test_what_is_asked_for_is_set_aside_until_it_is_written() -> None:
    """Writing out goes on after the reclaim has ended; it must be paid once, not twice."""
    writes = account(Writes(), written(0), float(MIB), 0.0).ask(100 * MIB)
    assert writes.allow() == 200 * MIB
    after = account(writes, written(100 * MIB), float(MIB), 1.0)
    assert after.promised == 0
    assert after.allow() == 200 * MIB


def test_a_device_that_does_not_count_is_paid_for_when_asked() -> None:
    """Unknown is not 0."""
    writes = account(Writes(), written(None), float(MIB), 0.0).ask(100 * MIB)
    assert writes.allow() == 200 * MIB
    assert account(writes, written(None), float(MIB), 10.0).allow() == 210 * MIB


def test_a_debt_is_limited() -> None:
    """A terabyte written by a global reclaim must not stop all of next week."""
    writes = account(Writes(), written(0), float(MIB), 0.0)
    writes = account(writes, written(1 << 40), float(MIB), 1.0)
    assert account(writes, written(1 << 40), float(MIB), 301.0).allow() == MIB


def test_a_counter_that_went_backwards() -> None:
    """A device pulled and put back: nothing is known of what was written."""
    writes = account(Writes(), written(1 << 30), float(MIB), 0.0)
    assert account(writes, written(0), float(MIB), 1.0).allow() == 300 * MIB


def test_zram_wears_nothing_out() -> None:
    """It is memory."""
    assert unworn(written(0, kind="zram"))
    assert not unworn(written(0))
