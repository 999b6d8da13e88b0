"""Sharing a node out: nothing is made from nothing, limits hold, and each kind of shortage shows under its cause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.simulator.contention import Capacity, Demand, contend, share_out

GIB = 1 << 30
NODE = Capacity(cpus=4, memory=8 * GIB, swap=2 * GIB, io=100e6)
QUIET = Demand(cpu=0.5, memory=GIB, io=0.0, weight=100)

DEMANDS = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.builds(
        Demand,
        cpu=st.floats(0, 16),
        memory=st.integers(0, 16 * GIB),
        io=st.floats(0, 1e9),
        weight=st.floats(2, 10_000),
        cpu_limit=st.none() | st.floats(0.1, 8),
        memory_limit=st.none() | st.integers(1 << 20, 16 * GIB),
        offline=st.booleans(),
        cpus=st.none() | st.frozensets(st.integers(0, 3), min_size=1),
    ),
    max_size=8,
)


def stalled(use):
    return {cause for cause, stall in use.stalls.items() if stall.some or stall.full}


@given(DEMANDS)
def test_nothing_is_made_from_nothing(demands):
    """Sums stay within the node, parts within their limits and wishes, and every share is one of time."""
    uses = contend(NODE, demands)

    assert uses.keys() == demands.keys()
    assert sum(use.cpu for use in uses.values()) <= NODE.cpus + 1e-6
    assert sum(use.memory for use in uses.values()) <= NODE.memory
    assert sum(use.swapped for use in uses.values()) <= NODE.swap
    assert sum(use.io for use in uses.values()) <= NODE.io * (1 + 1e-9)
    for name, use in uses.items():
        wish = demands[name]
        assert use.cpu <= min(wish.cpu, wish.cpu_limit or wish.cpu) + 1e-9
        assert wish.cpus is None or use.cpu <= len(wish.cpus) + 1e-9
        assert use.memory <= min(wish.memory, wish.memory_limit or wish.memory)
        assert use.memory + use.swapped <= wish.memory
        for cause, stall in use.stalls.items():
            assert 0 <= stall.full <= 1 + 1e-9, cause
            assert stall.some is None or stall.full - 1e-9 <= stall.some <= 1 + 1e-9, cause


@given(
    st.floats(0, 100),
    st.dictionaries(st.text("ab", min_size=1), st.tuples(st.floats(0, 50), st.floats(0.1, 9)), max_size=6),
)
def test_sharing_is_fair_and_leaves_nothing_over(amount, wants):
    """Either everybody has what it wants, or all is given away and the hungry have equal parts per weight."""
    got = share_out(amount, wants)
    hungry = {name for name, (want, _) in wants.items() if got[name] < want - 1e-6}

    assert all(got[name] <= want + 1e-9 for name, (want, _) in wants.items())
    if hungry:
        assert sum(got.values()) == pytest.approx(amount, abs=1e-6)
        parts = [got[name] / wants[name][1] for name in hungry]
        assert max(parts) == pytest.approx(min(parts), abs=1e-6)


def test_who_is_alone_waits_for_nothing():
    """No shortage, no stall."""
    assert stalled(contend(NODE, {"a": QUIET})["a"]) == set()


def test_a_quota_throttles_and_is_not_lack_of_cpus():
    """Half of what it wants: throttled half the time, on the two CPUs it ran on; cpu pressure says so too."""
    use = contend(NODE, {"a": Demand(2.0, GIB, 0, 100, cpu_limit=1.0)})["a"]

    assert (use.cpu, use.throttled, use.parallel) == (1.0, 0.5, 2.0)
    assert use.stalls["cpu_cfs_bandwidth"] == (None, 0.5)
    assert use.stalls["cpu"].full == 0.5
    assert stalled(use) == {"cpu", "cpu_cfs_bandwidth"}


def test_offline_pods_get_what_others_leave():
    """An offline pod of any weight waits for an online one, which feels nothing; only the former is suppressed."""
    uses = contend(NODE, {"on": Demand(3.0, GIB, 0, 2), "off": Demand(3.0, GIB, 0, 9999, offline=True)})

    assert (uses["on"].cpu, uses["off"].cpu) == (3.0, 1.0)
    assert stalled(uses["on"]) == set()
    assert stalled(uses["off"]) == {"cpu", "cpu_qos"}
    assert uses["off"].stalls["cpu_qos"].full == pytest.approx(2 / 3 * 3 / 4)


def test_without_offline_pods_the_weight_decides():
    """Both want all; the heavier gets three quarters, and both wait."""
    uses = contend(NODE, {"a": Demand(9.0, GIB, 0, 300), "b": Demand(9.0, GIB, 0, 100)})

    assert (uses["a"].cpu, uses["b"].cpu) == (pytest.approx(3.0), pytest.approx(1.0))
    assert uses["a"].stalls["cpu"].some < uses["b"].stalls["cpu"].some
    assert uses["b"].stalls["cpu_qos"].full == 0


def test_a_memory_limit_hurts_its_owner_only():
    """More than its limit lets it have: reclaim and swap of its own, no shortage of the node's."""
    uses = contend(NODE, {"a": Demand(0.1, 2 * GIB, 0, 100, memory_limit=GIB), "b": QUIET})

    assert uses["a"].memory == GIB
    assert uses["a"].swapped == GIB
    assert uses["a"].refaults > 0
    assert uses["a"].limit_hits > 0
    assert {"cgroup_memory_reclaim", "swap"} <= stalled(uses["a"])
    assert not {"global_memory_reclaim", "compact"} & stalled(uses["a"])
    assert not {"cgroup_memory_reclaim", "global_memory_reclaim", "swap"} & stalled(uses["b"])


def test_a_node_short_of_memory_hurts_everybody():
    """The kernel's own reclaim knows no priority."""
    uses = contend(NODE, {"a": Demand(0.1, 8 * GIB, 0, 100), "b": QUIET})

    for use in uses.values():
        assert {"global_memory_reclaim", "compact", "swap"} <= stalled(use)
        assert "cgroup_memory_reclaim" not in stalled(use)


def test_a_busy_disk_makes_everybody_wait_longer():
    """The same reads take longer beside a pod that reads all the disk can give."""
    alone = contend(NODE, {"a": Demand(0.1, GIB, 10e6, 100)})["a"]
    beside = contend(NODE, {"a": Demand(0.1, GIB, 10e6, 100), "b": Demand(0.1, GIB, 500e6, 100)})["a"]

    assert alone.io == beside.io == 10e6
    assert 0 < alone.stalls["io"].some < beside.stalls["io"].some
