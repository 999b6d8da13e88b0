"""The parts of the frequency policy by themselves: sizes over time, places, ceilings, and who waits for what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plimsoll.config.frequency_section import FrequencySection
from plimsoll.model.frequency import Bucket, Unit
from plimsoll.model.pressure import Pressure, PressureLine, Source
from plimsoll.policies.frequency_ceiling import low_ceiling, shared_ceiling, shared_floor, shared_lowest
from plimsoll.policies.frequency_demand import Demand, waited
from plimsoll.policies.frequency_place import Site, crossing, place
from plimsoll.policies.frequency_size import Group, Size, resize
from tests.fixtures.colocated import sample
from tests.fixtures.machines import machine

CONFIG = FrequencySection()


def demand(used: float, *, known: bool = True, waiting: bool = False) -> Demand:
    return Demand(used, known, waiting, {0: used}, {})


class Sized:
    """A group that is given what is wished for, in whole CPUs, a second a tick."""

    def __init__(self, cpus: int, *, confined: bool = True, crossing: bool = False, floor: float = 0.0) -> None:
        self.cpus, self.confined, self.crossing, self.floor = cpus, confined, crossing, floor
        self.size = Size()
        self.now = 0.0

    def see(self, seen: Demand, seconds: int = 1) -> int:
        for _ in range(seconds):
            group = Group(self.cpus, self.floor, 2, self.confined, self.crossing)
            wish, self.size = resize(group, seen, self.now, CONFIG, self.size)
            wanted = -int(-wish.cpus // 1)
            if wanted != self.cpus:
                self.cpus, self.size = wanted, self.size._replace(changed=self.now)
            self.now += 1.0
        return self.cpus


def test_dead_band() -> None:
    """Between six and eight tenths of use nothing moves, however long it lasts."""
    for used in (6.1, 7.9):
        assert Sized(10).see(demand(used), 1000) == 10


def test_high_use_grows_on_the_second_sample() -> None:
    """One sample may be chance; then to the target at once, and at least by one."""
    group = Sized(10)
    assert group.see(demand(8.5)) == 10
    assert group.see(demand(8.5)) == 14
    group = Sized(100)
    group.see(demand(80.0))
    # 80 / 0.65 = 123.08
    assert group.see(demand(80.0)) == 124


@pytest.mark.parametrize("seen", [demand(9.6), demand(5.0, waiting=True)], ids=["full", "waiting"])
def test_a_full_group_grows_at_once(seen: Demand) -> None:
    """What a full group hides, or pressure shows, does not wait for a second sample."""
    assert Sized(10).see(seen) == 15


def test_hidden_demand_is_found_in_a_few_seconds() -> None:
    """Every second half as much again, until it is no longer full: from 4 CPUs to 27 in four seconds."""
    group, need = Sized(4), 20.0
    sizes = [group.see(demand(min(need, group.cpus))) for _ in range(6)]
    assert sizes == [7, 11, 17, 27, 27, 27]


def test_pods_that_are_not_confined_hide_nothing() -> None:
    """They run elsewhere as well, so what they use is all they want: pressure is of another group's making."""
    assert Sized(10, confined=False).see(demand(5.0, waiting=True), 5) == 10
    group = Sized(10, confined=False)
    group.see(demand(12.0))
    assert group.see(demand(12.0)) == 19


def test_shrinking_takes_the_window_and_then_steps() -> None:
    """Nothing for the two minutes before which use is not known; then a quarter every half a minute, to the target."""
    group = Sized(40)
    sizes = [group.see(demand(5.2)) for _ in range(400)]
    assert sizes[119] == 40
    assert sizes[120] == 30
    assert sizes[149] == 30
    assert sizes[150] == 22
    assert sizes[-1] == 8
    assert sizes == sorted(sizes, reverse=True)


def test_a_peak_is_remembered_for_the_window() -> None:
    """The group is not given up while the last two minutes would not have fitted."""
    group = Sized(20)
    group.see(demand(2.0), 200)
    assert group.cpus < 10
    group = Sized(20)
    for _ in range(10):
        group.see(demand(14.0), 2)
        group.see(demand(2.0), 100)
    assert group.cpus == 20


def test_pressure_holds_back_shrinking_for_the_window() -> None:
    """A group that was full a minute ago does not shrink, however little is used now."""
    group = Sized(20)
    group.see(demand(2.0), 110)
    group.see(demand(2.0, waiting=True))
    size = group.cpus
    assert group.see(demand(2.0), 119) == size > 20
    assert group.see(demand(2.0), 5) < size


def test_blind() -> None:
    """Held once; without figures again it is taken for full. What is known in between starts afresh."""
    group = Sized(10)
    unknown = demand(1.0, known=False)
    assert [group.see(each) for each in (unknown, demand(1.0), unknown)] == [10, 10, 10]
    assert group.see(unknown) == 15


def test_pods_that_come_all_the_time_do_not_stop_shrinking() -> None:
    """Every new pod's use is unknown for one tick; that alone is no reason to keep everything for another window."""
    group = Sized(20)
    for _ in range(40):
        group.see(demand(2.0), 9)
        group.see(demand(2.0, known=False))
    assert group.cpus < 10


def test_crossing_a_bucket_takes_twice_as_long() -> None:
    """It costs every fast core some of its frequency, so it is not done for a moment; but it is done."""
    group = Sized(10, crossing=True)
    assert [group.see(demand(9.0)) for _ in range(4)] == [10, 10, 10, 14]
    group = Sized(10, crossing=True)
    assert [group.see(demand(10.0)) for _ in range(2)] == [10, 16]


def test_the_floor() -> None:
    """Requests are covered in the first decision that sees them, and never given up."""
    assert Sized(4, floor=11.5).see(demand(0.0)) == 12
    assert Sized(40, floor=11.5).see(demand(0.0), 1000) == 12


def site(units: tuple[Unit, ...], **changes: object) -> Site:
    nodes = {each.numa: 1.0 for each in units if each.numa is not None}
    empty: frozenset[str] = frozenset()
    plain = Site(units, empty, empty, empty, frozenset(), nodes, {}, 0, len(units), {})
    return plain._replace(**changes)  # type: ignore[arg-type]


def test_spread_over_nodes_and_domains() -> None:
    """Pods that may be on both nodes have CPUs of both; within a package the power domains share the heat."""
    units = machine(packages=2, cores=4, domains=2)
    assert place(frozenset(), 8, site(units)) == {"0/0/0", "0/1/0", "1/0/0", "1/1/0"}


def test_where_most_is_used() -> None:
    """The node whose pods use three times as much gets three units of four."""
    units = machine()
    high = place(frozenset(), 8, site(units, pull={0: 1.0, 1: 3.1}))
    assert sorted(each.split("/")[0] for each in high) == ["0", "1", "1", "1"]


def test_one_last_level_cache_before_the_next() -> None:
    """Where a package has several, as AMD's do, the group fills one before it begins another."""
    units = tuple(each._replace(cache=min(each.cpus) % 2) for each in machine(packages=1, cores=8))
    high = place(frozenset(), 6, site(units))
    assert len({each.cache for each in units if each.name in high}) == 1
    grown = place(high, 8, site(units))
    assert grown > high
    assert len({each.cache for each in units if each.name in grown}) == 1


def test_what_is_fast_already_comes_first() -> None:
    """A unit that has just left and was not yet made slow comes back before another is raised."""
    assert place(frozenset({"0/0/0"}), 4, site(machine(packages=1), ready=frozenset({"0/0/3"}))) == {"0/0/0", "0/0/3"}


def test_the_last_to_come_leaves_first() -> None:
    """Deterministic, and the other way round from growing."""
    units = machine(packages=1)
    high = place(frozenset(), 8, site(units))
    assert place(high, 4, site(units)) == {"0/0/0", "0/0/1"}


def test_nodes_have_their_least() -> None:
    """So many units on each node with a pod, and the CPUs its own pods need, whatever the whole has."""
    units = machine()
    assert place(frozenset(), 2, site(units, least_units=1)) == {"0/0/0", "1/0/0"}
    assert place(frozenset(), 2, site(units, pull={0: 1.0, 1: 1.0}, least={1: 5.0})) == {"1/0/0", "1/0/1", "1/0/2"}


def test_a_bucket_is_not_crossed_while_another_package_has_room() -> None:
    """Turbo is kept where it costs nothing but the choice of package; and crossed when there is no other."""
    units = machine()
    buckets = {0: (Bucket(1, 4600), Bucket(3, 4300)), 1: (Bucket(3, 4600),)}
    bucketed = site(units, buckets=buckets, pull={0: 9.0, 1: 1.0})
    current = frozenset({"0/0/0"})
    assert place(current, 4, bucketed) == {"0/0/0", "1/0/0"}
    assert not crossing(current, bucketed)
    full = frozenset({"0/0/0", "1/0/0", "1/0/1", "1/0/2"})
    assert crossing(full, bucketed)
    assert place(full, 10, bucketed) > full


def test_the_ceiling_counts() -> None:
    """Never more units than there may be, and too many are given up at once."""
    units = machine()
    assert len(place(frozenset(), 100, site(units, most=5))) == 5
    assert len(place(frozenset(each.name for each in units), 100, site(units, most=5))) == 5


def unit(lowest: int | None = 800, base: int | None = 2000, highest: int | None = 3500) -> Unit:
    return Unit("0/0/0", 0, 0, frozenset({0}), lowest=lowest, base=base, highest=highest)


@pytest.mark.parametrize(
    ("of", "choice", "expected"),
    [
        (unit(), "auto", 1400),
        (unit(lowest=1000, base=2450), "auto", 1700),
        (unit(base=None), "auto", 1700),
        (unit(lowest=None), "auto", 2000),
        (unit(lowest=None, base=None), "auto", None),
        (unit(base=None, highest=None), "auto", None),
        (unit(base=None, highest=None), 1500, None),
        (unit(lowest=2000), "auto", 2000),
        (unit(), 100, 800),
        (unit(), 9000, 2000),
        (unit(), 1550, 1550),
        (unit(base=3600, highest=3500), 9000, 3500),
        (unit(lowest=1450, base=1500), "auto", 1450),
    ],
)
def test_low_ceiling(of: Unit, choice: int, expected: int | None) -> None:
    """Half-way up to the base frequency, or what was asked for; never outside of what the hardware has."""
    assert low_ceiling(of, choice) == expected


def test_shared_frequencies() -> None:
    """A class of service has one ceiling and one floor in all of its domain, in the hardware's steps."""
    fast, slow = unit(), unit(lowest=600, base=1850)
    assert shared_ceiling([fast, slow], "auto") == 1200
    assert shared_ceiling([fast, unit(base=None, highest=None)], "auto") is None
    assert shared_floor([fast, slow], "auto") == 1800
    assert shared_floor([fast, unit(base=None)], "auto") == 0
    assert shared_floor([fast], 1275) == 1200
    assert shared_lowest([fast, slow], 1200) == 600
    assert shared_lowest([fast], 700) == 700
    assert shared_lowest([unit(lowest=None)], 700) == 0


def pressed(some: int | None, **rates: tuple[float | None, float | None]) -> float:
    pressures = () if some is None else (Pressure("cpu", Source.PSI, PressureLine(some, 0, 0, 0), None),)
    return waited(replace(sample(1), pressures=pressures, stall_rates=rates))


def test_waiting() -> None:
    """The tick's own rate first, the kernel's average without one; less what the pod's own limit stopped."""
    assert pressed(None) == 0.0
    assert pressed(1250) == 0.125
    assert pressed(9000, cpu=(0.2, None)) == 0.2
    assert pressed(None, cpu=(0.5, None), cpu_cfs_bandwidth=(None, 0.4)) == pytest.approx(0.1)
    assert pressed(None, cpu=(0.5, None), cpu_cfs_bandwidth=(None, 3.0)) < 0
