"""Cold memory by DAMON: whose the kdamonds are, one for each container, the brakes, and what is left at the end."""

from __future__ import annotations

import errno
import shutil
from contextlib import contextmanager
from itertools import count, pairwise
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.reclaim.damon import CLAIM_SECONDS, FAILURES, RESTART_SECONDS, RETRY_SECONDS, DamonMemory
from plimsoll.kernel.reclaim.damon_layout import (
    INTERVAL_SECONDS,
    MARK_QUOTA,
    MEMORY,
    MOST_REGIONS,
    REGION,
    marking_seconds,
    memory_ranges,
    quota,
    regions,
    total,
)
from plimsoll.kernel.reclaim.damon_worker import BRAKE_SECONDS, MARK_SECONDS, REST_SECONDS, SETTLE_SECONDS
from plimsoll.kernel.reclaim.kdamonds import Kdamonds, Setting, Task
from plimsoll.model.kdamonds import CLAIMED, NONE, UNMARKED, WORKERS
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Selector, Watch, cgroup
from tests.fixtures.hosts import damon, trees
from tests.fixtures.hosts.damon import BLOCK, DamonTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
SIZE, WHOLE = 32 * MIB, 128 * MIB
NEVER = str((1 << 32) - 1)
MARKED = marking_seconds(WHOLE)
AGE = 15
TASK = Task(AGE, MIB)


def path(number: int, container: int | None = None) -> str:
    pod = f"kubepods.slice/pod{number}"
    return pod if container is None else f"{pod}/c{container}"


SETTING = Setting(path(0, 0), ((0, MIB), (MIB, 2 * MIB)), TASK, 2, 10)


class Node:
    """A node of 128 MiB with pods of two containers each: one with nearly all the memory, and a sandbox."""

    def __init__(self, root: Path, host: HostFs, tree: DamonTree, hierarchies: Hierarchies) -> None:
        self.root = root
        self.tree = tree
        self.kdamonds = Kdamonds(host)
        self.changes: list[Callable[[], None]] = []
        self.memory = DamonMemory(host, hierarchies, apart=self.changes.append)
        self.now = 1000.0
        self.rates: dict[int, int] = {}
        self.halted: set[int] = set()
        self.window = 10.0 * AGE

    def turn(self, seconds: float = 1.0, *, change: bool = True) -> None:
        """The act thread's part, the selector's, and what blocks, if ``change``."""
        self.now += seconds
        watches = [
            Watch(
                f"uid-{number}",
                (cgroup(path(number)), cgroup(path(number, 0)), cgroup(path(number, 1))),
                Selector.DAMON,
                "overcommit",
                self.window,
                rate,
                number in self.halted,
            )
            for number, rate in self.rates.items()
        ]
        self.memory.halt({each.pod for each in watches if not each.halt})
        self.memory.watch(watches)
        self.memory.advance(self.now)
        if change:
            for each in self.changes[:1]:
                each()
            self.changes.clear()

    def marked(self) -> None:
        """Until those that were begun have marked all pages, and were told what is wanted."""
        self.turn(MARKED)
        for _ in self.tree.running:
            self.turn()

    def marking(self, number: int = 0) -> bool:
        """Whether it passes by every anonymous page, and so only notes which were used."""
        assert self.tree.told(number, "schemes/0/filters/3/type") == "anon"
        return self.tree.told(number, "schemes/0/filters/3/matching") == "Y"

    def quota(self, number: int = 0) -> int:
        return int(self.tree.told(number, "schemes/0/quotas/bytes"))

    def age(self, number: int = 0) -> str:
        return self.tree.told(number, "schemes/0/access_pattern/age/min")


@contextmanager
def opened(root: Path) -> Iterator[Node]:
    tree = DamonTree(root)
    with HostFs(str(root), fault=tree) as host, Hierarchies.detect(host) as hierarchies:
        yield Node(root, host, tree, hierarchies)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {f"{trees.CGROUP}/cgroup.controllers": "memory\n"}
    for number in range(WORKERS + 4):
        for container, size in ((None, SIZE), (0, SIZE - MIB), (1, MIB)):
            files[f"{trees.CGROUP}/{path(number, container)}/memory.current"] = f"{size}\n"
    return trees.write(tmp_path, files | damon.able(WHOLE // BLOCK))


@pytest.fixture
def node(root: Path) -> Iterator[Node]:
    with opened(root) as found:
        assert found.kdamonds.claim() == (Outcome.OK, 0)
        yield found


def test_claiming_and_giving_back(root: Path) -> None:
    """All of them or none, with our mark; giving them back stops what runs and leaves the tree as it was."""
    with opened(root) as node:
        assert node.kdamonds.standing() == (Outcome.OK, NONE)
        assert node.kdamonds.claim() == (Outcome.OK, 0)
        assert node.kdamonds.standing() == (Outcome.OK, CLAIMED)
        assert node.kdamonds.claim() == (Outcome.OK, 0)
        node.rates[0] = MIB
        node.turn()
        assert node.tree.running == {0}
        assert node.kdamonds.release() == (Outcome.OK, 0)
        assert node.kdamonds.standing() == (Outcome.OK, NONE)
        assert node.kdamonds.release() == (Outcome.OK, 0)


@pytest.mark.parametrize("count", ["1", UNMARKED])
def test_somebody_elses_are_left_alone(root: Path, count: str) -> None:
    """Neither taken nor given back, also if there happen to be as many as ours: nothing in their tree changes."""
    with opened(root) as node:
        node.tree.put("nr_kdamonds", count)
        node.tree.put("0/contexts/nr_contexts", "1")
        before = trees_below(root)
        assert node.kdamonds.claim() == (Outcome.HELD, 0)
        assert node.kdamonds.release() == (Outcome.HELD, 0)
        node.rates[0] = MIB
        node.turn()
        node.memory.close()
        assert trees_below(root) == before
        assert node.tree.asked == []


ACTS: dict[str, Callable[[Kdamonds], object]] = {
    "start": lambda kdamonds: kdamonds.start(0, SETTING),
    "change": lambda kdamonds: kdamonds.change(0, TASK),
    "off": lambda kdamonds: kdamonds.off(0),
}


@pytest.mark.parametrize("act", ACTS)
def test_somebody_takes_them_in_the_middle(root: Path, act: str) -> None:
    """At whichever system call it happens: nothing is written into what is theirs then, and none of it is started."""
    theirs: dict[str, str] = {}
    left = 0

    with opened(root) as node:

        def takes(operation: str, path: str) -> int:
            nonlocal left, theirs
            left -= 1
            if left == -1:
                for number in node.tree.running:
                    node.tree.put(f"{number}/state", "off")
                node.tree.put("nr_kdamonds", "1")
                for file in ("nr_contexts", "0/targets/nr_targets", "0/schemes/nr_schemes"):
                    node.tree.put(f"0/contexts/{file}", "1")
                node.tree.put("0/contexts/0/schemes/0/filters/nr_filters", "4")
                theirs = trees_below(root)
                node.tree.asked.clear()
            return node.tree(operation, path)

        with HostFs(str(root), fault=takes) as host:
            for calls in count():
                node.tree.put("nr_kdamonds", NONE)
                assert node.kdamonds.claim() == (Outcome.OK, 0)
                if act != "start":
                    assert node.kdamonds.start(0, SETTING) == (Outcome.OK, 0)
                left = calls
                ACTS[act](Kdamonds(host))
                node.tree.settle()
                if left >= 0:
                    break
                assert (calls, trees_below(root)) == (calls, theirs)
                assert node.tree.asked == []
        assert calls > 0


def test_somebody_takes_them_while_ours_are_stopped(root: Path) -> None:
    """They are not given back then: their number has one file for everybody."""
    with opened(root) as node:
        assert node.kdamonds.claim() == (Outcome.OK, 0)

        def takes(operation: str, path: str) -> int:
            if operation == "read" and path.endswith(f"/{WORKERS - 1}/state"):
                node.tree.put("nr_kdamonds", "1")
            return node.tree(operation, path)

        with HostFs(str(root), fault=takes) as host:
            assert Kdamonds(host).release() == (Outcome.HELD, 0)
        assert node.kdamonds.standing() == (Outcome.OK, "1")


def trees_below(root: Path) -> dict[str, str]:
    folder = root / "sys/kernel/mm/damon"
    return {str(each): each.read_text(encoding="ascii") for each in sorted(folder.rglob("*")) if each.is_file()}


@pytest.mark.parametrize("finish", [Kdamonds.claim, Kdamonds.release])
@pytest.mark.parametrize("writes", range(1, 5))
def test_killed_while_claiming(root: Path, writes: int, finish: Callable[[Kdamonds], object]) -> None:
    """Whatever had been written by then: the next one claims them whole, and can give them back."""
    left = writes

    class Killed(BaseException):
        pass

    with opened(root) as node:

        def dies(operation: str, path: str) -> int:
            nonlocal left
            if operation == "write" and left == 0:
                raise Killed
            left -= operation == "write"
            return node.tree(operation, path)

        with HostFs(str(root), fault=dies) as host, pytest.raises(Killed):
            Kdamonds(host).claim()
        assert node.kdamonds.standing()[1] == UNMARKED
        assert finish(node.kdamonds) == (Outcome.OK, 0)
        assert node.kdamonds.standing()[1] == (CLAIMED if finish is Kdamonds.claim else NONE)


def test_a_container_has_its_own(node: Node) -> None:
    """The one that is worth it: told its own cgroup, unused anonymous pages, the node's memory finely cut."""
    node.rates[0] = 2 * MIB
    node.turn()
    assert node.tree.running == {0}
    told = node.tree.told
    assert (told(0, "operations"), told(0, "schemes/0/action")) == ("paddr", "pageout")
    assert told(0, "schemes/0/filters/0/memcg_path") == f"/{path(0, 0)}"
    assert (told(0, "schemes/0/filters/0/type"), told(0, "schemes/0/filters/1/type")) == ("memcg", "anon")
    assert (told(0, "schemes/0/filters/0/matching"), told(0, "schemes/0/filters/1/matching")) == ("N", "N")
    assert (told(0, "schemes/0/filters/2/type"), told(0, "schemes/0/filters/2/matching")) == ("young", "Y")
    assert told(0, "schemes/0/access_pattern/nr_accesses/max") == "0"
    count = int(told(0, "targets/0/regions/nr_regions"))
    assert count == WHOLE // REGION == 256
    # No region is ever split or merged: more than half of the most, and two would be larger than the largest.
    assert count > int(told(0, "monitoring_attrs/nr_regions/max")) / 2
    assert WHOLE / int(told(0, "monitoring_attrs/nr_regions/min")) < 2 * REGION
    assert (told(0, "targets/0/regions/0/start"), told(0, "targets/0/regions/255/end")) == ("0", str(WHOLE))
    # A commit would lay them out anew.
    assert node.tree.text("0/contexts/0/targets/0/regions/nr_regions") == "0"


def test_it_marks_all_pages_before_it_takes_any(node: Node) -> None:
    """At first it only notes what was used, everywhere and at once; age and quota come when that is done."""
    node.rates[0] = 2 * MIB
    node.turn()
    assert (node.marking(), node.age(), node.quota()) == (True, "0", MARK_QUOTA)
    node.turn(MARKED - 1)
    assert node.marking()
    node.turn()
    assert (node.marking(), node.age(), node.quota()) == (False, str(AGE), int(2 * MIB * 10 * (WHOLE / SIZE)))
    assert node.tree.asked == [(0, "on"), (0, "commit")]
    # What counts as cold can be said anew.
    node.window = 61.0
    node.turn(SETTLE_SECONDS)
    assert node.age() == "7"


def test_one_that_grows_is_marked_anew(node: Node) -> None:
    """What it allocates meanwhile has to be marked too; but not for ever."""
    usage = node.root / trees.CGROUP / path(0, 0) / "memory.current"
    node.rates[0] = MIB
    node.turn()
    begun, size = node.now, SIZE
    while node.now - begun < MARK_SECONDS:
        size = int(size * 1.1)
        usage.write_text(f"{size}\n", encoding="ascii")
        node.turn(10.0)
        assert node.marking()
    usage.write_text(f"{2 * size}\n", encoding="ascii")
    node.turn(MARKED)
    assert not node.marking()


@pytest.mark.parametrize(("whole", "intervals"), [(1 << 30, 1), (MARK_QUOTA, 1), (MARK_QUOTA + 1, 2), (32 << 30, 16)])
def test_marking_takes_as_long_as_its_quota_needs(whole: int, intervals: int) -> None:
    """It acts when an interval is over; told something else half an interval later, the last of them was in time."""
    assert intervals < marking_seconds(whole) / INTERVAL_SECONDS < intervals + 1


def test_one_begins_at_a_time_and_no_more_than_there_are(node: Node) -> None:
    """Setting one up takes long, so each has its turn; those for whom none is left go without."""
    node.rates = dict.fromkeys(range(WORKERS + 2), MIB)
    for turns in range(1, WORKERS + 3):
        node.turn()
        assert len(node.tree.running) == min(turns, WORKERS)
    assert node.memory.usable


def test_the_slow_brake_keeps_what_is_known(node: Node) -> None:
    """A rate of 0 is told to the running kdamond, and so is the next one, after a while."""
    node.rates[0] = MIB
    node.turn()
    node.marked()
    node.rates[0] = 0
    node.turn()
    assert (node.tree.running, node.age()) == ({0}, NEVER)
    node.rates[0] = 2 * MIB
    node.turn()
    assert node.age() == NEVER
    node.turn(SETTLE_SECONDS)
    assert (node.age(), node.quota()) == (str(AGE), quota(2 * MIB, SIZE, WHOLE))
    assert node.tree.asked == [(0, "on"), *([(0, "commit")] * 3)]


def test_a_brake_that_does_not_come_through_is_replaced_by_off(node: Node) -> None:
    """Another one's change may be in the way for long: what shall not page out any more is stopped by then."""
    node.rates[0] = MIB
    node.turn()
    node.marked()
    node.rates[0] = 0
    node.turn(change=False)
    node.turn(BRAKE_SECONDS - 1, change=False)
    assert node.tree.running == {0}
    node.turn(1, change=False)
    assert node.tree.running == set()


def test_halting_is_at_once_and_from_any_thread(node: Node) -> None:
    """Off without waiting for the selector's turn, the others go on; and it stays off while the halt stands."""
    node.rates = {0: MIB, 1: MIB}
    node.turn()
    node.turn()
    assert node.tree.running == {0, 1}
    node.memory.halt({"uid-1"})
    assert node.tree.running == {1}
    node.halted.add(0)
    for _ in range(3):
        node.turn(RESTART_SECONDS)
    assert node.tree.running == {1}
    node.halted.clear()
    node.turn()
    assert len(node.tree.running) == 2


def test_a_pod_that_is_no_longer_watched_has_none(node: Node) -> None:
    """Its kdamond is off in the same turn, before its cgroup can be gone; the number may then be another's."""
    node.rates[0] = MIB
    node.turn()
    node.rates = {1: MIB}
    node.turn()
    assert node.tree.told(0, "schemes/0/filters/0/memcg_path") == f"/{path(1, 0)}"
    assert node.tree.running == {0}


def test_a_number_is_not_given_away_while_it_is_being_changed(node: Node) -> None:
    """What was asked for the one before must not reach the one after."""
    node.rates[0] = MIB
    node.turn()
    node.marked()
    node.rates[0] = 4 * MIB
    node.turn(SETTLE_SECONDS, change=False)
    (late,) = node.changes
    node.changes.clear()
    node.rates = {1: MIB}
    node.turn(change=False)
    late()
    assert node.marking()
    # And the other way round: the change had begun when the pod went.
    node.turn(MARKED, change=False)
    (late,) = node.changes
    worker = node.memory._workers[0]
    worker.changing = True
    node.rates = {2: MIB}
    node.turn(change=False)
    assert node.tree.running == {1}
    worker.changing = False
    node.rates[3] = MIB
    node.turn(change=False)
    assert node.tree.running == {0, 1}


def test_looking_on_has_an_end(node: Node) -> None:
    """A pod that may give nothing is looked at from the first, but not for ever, and again once it may."""
    node.rates[0] = 0
    node.turn()
    node.marked()
    assert (node.tree.running, node.age()) == ({0}, NEVER)
    node.turn(REST_SECONDS)
    assert node.tree.running == set()
    node.turn(RESTART_SECONDS)
    assert node.tree.running == set()
    node.rates[0] = MIB
    node.turn()
    node.marked()
    assert (node.tree.running, node.age()) == ({0}, str(AGE))


def test_one_that_ends_by_itself_is_begun_again_later(node: Node) -> None:
    """As happens with a commit for a cgroup that is gone, or without memory."""
    node.rates[0] = MIB
    node.turn()
    node.tree.dies(0)
    node.turn()
    assert node.tree.running == set()
    node.turn(RESTART_SECONDS)
    assert node.tree.running == {0}
    shutil.rmtree(node.root / trees.CGROUP / path(0))
    node.rates[0] = 0
    for _ in range(2 * FAILURES):
        node.turn(RESTART_SECONDS)
    assert node.tree.running == set()
    assert node.memory.usable


def test_what_an_earlier_life_left_running_is_ended(node: Node) -> None:
    """After a kill the kdamonds are still ours; none of them goes on for a pod that may be gone by now."""
    node.rates = {0: MIB, 1: MIB}
    node.turn()
    node.turn()
    with HostFs(str(node.root), fault=node.tree) as host, Hierarchies.detect(host) as hierarchies:
        DamonMemory(host, hierarchies, apart=lambda _: None).advance(node.now)
    assert node.tree.running == set()


def test_nothing_is_forgotten_while_the_kernel_does_not_say_whose_they_are(node: Node) -> None:
    """It is at work on one of them, as it often is: those that run go on, with all they know."""
    node.rates[0] = MIB
    node.turn()
    node.tree.locked = 3
    while node.tree.locked:
        assert node.kdamonds.claimed is None
        node.turn()
    node.turn()
    assert node.kdamonds.claimed is True
    assert (node.tree.running, node.tree.asked) == ({0}, [(0, "on")])


def test_beside_another_user_of_the_kernels_it_gives_up_for_a_while(node: Node) -> None:
    """DAMON's own modules and the tree keep each other out: BUSY, again and again. Others are asked, later we are."""
    node.rates[0] = MIB
    node.tree.refused = [errno.EBUSY] * FAILURES
    for _ in range(FAILURES - 1):
        node.turn()
        assert node.memory.usable
    node.turn()
    assert (node.memory.usable, node.memory.outcome) == (False, Outcome.BUSY)
    node.turn(RETRY_SECONDS - 1)
    assert node.tree.running == set()
    node.turn()
    assert (node.memory.usable, node.memory.outcome, node.tree.running) == (True, Outcome.OK, {0})


def test_without_a_claim_nothing_is_written(root: Path) -> None:
    """Nothing of ours stands there, so nothing is touched; after a while that is told."""
    with opened(root) as node:
        node.rates[0] = MIB
        before = trees_below(root)
        node.turn()
        assert node.memory.usable
        node.turn(CLAIM_SECONDS)
        assert (node.memory.usable, node.memory.outcome) == (False, Outcome.HELD)
        assert trees_below(root) == before


def test_closing_leaves_none_running(node: Node) -> None:
    """The claim is the journal's to give back; what runs is ours to end."""
    node.rates = {0: MIB, 1: MIB}
    node.turn()
    node.turn()
    node.memory.close()
    assert node.tree.running == set()
    assert node.kdamonds.standing() == (Outcome.OK, CLAIMED)


def test_memory_is_where_its_blocks_are_on_line(root: Path) -> None:
    """Neighbours are one range; a hole and a block that is off line are none; without the files nothing is known."""
    trees.write(root, damon.able(8))
    (root / MEMORY / "memory3" / "state").write_text("offline\n", encoding="ascii")
    trees.write(root, {f"{MEMORY}/memory32/state": "online\n", f"{MEMORY}/power/": ""})
    with HostFs(str(root)) as host:
        found = memory_ranges(host)
        assert found == ((0, 3 * BLOCK), (4 * BLOCK, 8 * BLOCK), (32 * BLOCK, 33 * BLOCK))
        (root / MEMORY / "block_size_bytes").write_text("?\n", encoding="ascii")
        assert memory_ranges(host) == ()


@pytest.mark.parametrize("gibibytes", [1, 4, 16, 32, 256])
def test_regions_cover_all_and_stay_within_the_most(gibibytes: int) -> None:
    """Every byte once, in order, never more regions than are cheap, and none larger than that takes."""
    whole = ((0, 3 << 30), (4 << 30, (gibibytes + 1) << 30)) if gibibytes > 3 else ((0, gibibytes << 30),)
    found = regions(whole)
    assert total(found) == total(whole)
    assert all(one[1] <= two[0] for one, two in pairwise(found))
    assert len(found) <= MOST_REGIONS + len(whole)
    assert max(end - start for start, end in found) <= max(REGION, (gibibytes << 30) // MOST_REGIONS + (1 << 16))


def test_a_quota_is_the_pods_part_of_what_is_looked_at() -> None:
    """Of a pod that is a quarter of all memory, four times as much is looked at as may go; at most all, 0 for none."""
    assert quota(MIB, 256 * MIB, 1024 * MIB) == 40 * MIB
    assert quota(1 << 40, MIB, 1024 * MIB) == 1024 * MIB
    assert quota(1, 1024 * MIB, 1024 * MIB) == REGION
    assert quota(0, 256 * MIB, 1024 * MIB) == 0
