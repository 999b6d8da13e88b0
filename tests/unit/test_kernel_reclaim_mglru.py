"""Cold memory by generations: the kernel's file, our own passes over it, and what may be called cold when."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.reclaim.lru_gen import FILE, Generation, LruGen, Lruvec, parse
from plimsoll.kernel.reclaim.mglru import BUDGET, GenerationalMemory
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Selector, Watch, cgroup

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
PAGES = MIB // PAGE
POD = "kubepods.slice/pod"
CONTAINER = f"{POD}/container"
TEXT = """\
memcg     1 /
 node     0
          0       9000          0           0 
          1       8000          1           2 
memcg   231 /kubepods.slice/with a space
 node     0
          7       6000         10x         20 
          8       5000         11          21 
 node     1
          9       4000         12          22 
"""  # fmt: skip  # noqa: W291 - the kernel ends lines so


def test_the_file() -> None:
    """Cgroups, nodes and generations, with the kernel's spacing and its mark for what is older than the oldest."""
    root, first, second = parse(TEXT)
    assert (root.memcg, root.path, root.newest) == (1, "", 1)
    assert first == Lruvec(
        231, "kubepods.slice/with a space", 0, (Generation(7, 6000, 10, 20), Generation(8, 5000, 11, 21))
    )
    assert (second.node, second.newest) == (1, 9)
    assert (first.anon_pages(), first.anon_pages(8), first.anon_pages(7)) == (21, 10, 0)


@pytest.mark.parametrize("text", ["1 2 3 4\n", "memcg 1 /\n 1 2 3 4\n", "memcg x /\n", "memcg 1 /\n node 0\n 1 2 3\n"])
def test_another_format_is_refused(text: str) -> None:
    """debugfs promises nothing: what is not understood is not guessed at."""
    with pytest.raises(ValueError, match=r"^(not a line|invalid literal)"):
        parse(text)


@dataclass
class Group:
    """
    One cgroup as MGLRU sees it: pages by generation, and how many are in use from now on.

    Of 4 generations at most, so the two oldest become one when another is begun.
    """

    memcg: int
    generations: dict[int, int] = field(default_factory=dict)
    used: int = 0

    @property
    def newest(self) -> int:
        return max(self.generations)

    def age(self) -> None:
        """What was used since the last pass goes into the newest generation; another is begun."""
        newest, used = self.newest, self.used
        for number in sorted(self.generations, reverse=True):
            moved = min(used, self.generations[number])
            self.generations[number] -= moved
            used -= moved
        self.generations[newest] += self.used - used
        self.generations[newest + 1] = 0
        while len(self.generations) > 4:
            oldest = min(self.generations)
            self.generations[oldest + 1] += self.generations.pop(oldest)


class Kernel:
    """Answers to the file: the text is made afresh before each read, and a write is carried out when it comes."""

    def __init__(self, root: Path) -> None:
        self.path = root / FILE
        self.path.parent.mkdir(parents=True)
        self.groups: dict[str, Group] = {}
        self.now = 1000.0
        self.passes: list[float] = []
        self.seconds = 0.0
        self.refused = 0
        self.show()

    def show(self) -> None:
        text = ""
        for path, group in self.groups.items():
            text += f"memcg {group.memcg:5d} /{path}\n node     0\n"
            for number, pages in sorted(group.generations.items()):
                text += f" {number:10d} {0:10d} {pages:10d}  {7:10d}  \n"
        self.path.write_text(text, encoding="ascii")

    def __call__(self, operation: str, path: str) -> int:
        if operation == "write" and path.endswith("lru_gen"):
            if self.refused:
                return self.refused
            self.passes.append(self.now)
            self.now += self.seconds
        return 0

    def clock(self) -> float:
        return self.now


class Passes(GenerationalMemory):
    """Lets the kernel do what was written to it, after each write."""

    def __init__(self, host: HostFs, kernel: Kernel) -> None:
        super().__init__(host, clock=kernel.clock, rest=300)
        age = self._file.age

        def aged(lruvec: Lruvec) -> Outcome:
            outcome = age(lruvec)
            written = kernel.path.read_text(encoding="ascii")
            group = kernel.groups.get(lruvec.path)
            if outcome is Outcome.OK and group is not None:
                assert written.startswith(f"+ {group.memcg} 0 {lruvec.newest} 1 1\n")
                if lruvec.newest == group.newest:
                    group.age()
            kernel.show()
            return outcome

        self._file.age = aged  # type: ignore[method-assign]


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    found = Kernel(tmp_path)
    found.groups[CONTAINER] = Group(42, {0: 0, 1: 0, 2: 0, 3: 256 * PAGES}, used=96 * PAGES)
    found.groups["kubepods.slice/podother"] = Group(43, {3: 1000 * PAGES})
    found.show()
    return found


@pytest.fixture
def memory(tmp_path: Path, kernel: Kernel) -> Iterator[Passes]:
    with HostFs(str(tmp_path), fault=kernel) as host:
        yield Passes(host, kernel)


def watch(*pods: str) -> list[Watch]:
    return [Watch(f"uid-{each}", (cgroup(f"kubepods.slice/{each}"),), Selector.MGLRU, "p", 120.0) for each in pods]


def turn(memory: Passes, kernel: Kernel, seconds: float) -> int | None:
    """Time passes and the selector has its turn; what is cold in the pod afterwards."""
    kernel.now += seconds
    memory.advance(kernel.now)
    return memory.cold("uid-pod")


def test_cold_is_known_after_the_window(memory: Passes, kernel: Kernel) -> None:
    """
    Three passes, two intervals: before that nothing is called cold, though all of it looks old from the start.

    The hot part is never in it.
    """
    memory.watch(watch("pod"))
    assert [turn(memory, kernel, 60) for _ in range(3)] == [None, None, 160 * MIB]
    assert len(kernel.passes) == 3
    assert memory.cold("uid-podother") is None


def test_passes_keep_their_distance(memory: Passes, kernel: Kernel) -> None:
    """However often it has a turn, and is told to watch the same: one pass in each interval."""
    for _ in range(24):
        memory.watch(watch("pod"))
        turn(memory, kernel, 10)
    assert [each - kernel.passes[0] for each in kernel.passes] == [0, 60, 120, 180]


def test_what_was_used_again_is_not_cold(memory: Passes, kernel: Kernel) -> None:
    """A phase change: the next pass takes back what it called cold."""
    memory.watch(watch("pod"))
    for _ in range(3):
        turn(memory, kernel, 60)
    kernel.groups[CONTAINER].used = 200 * PAGES
    assert turn(memory, kernel, 60) == 56 * MIB


def test_what_was_reclaimed_is_not_cold_any_more(memory: Passes, kernel: Kernel) -> None:
    """Within seconds, without another pass: nothing may be asked for twice."""
    memory.watch(watch("pod"))
    for _ in range(3):
        turn(memory, kernel, 60)
    kernel.groups[CONTAINER].generations[min(kernel.groups[CONTAINER].generations)] -= 100 * PAGES
    kernel.show()
    assert turn(memory, kernel, 10) == 60 * MIB
    assert len(kernel.passes) == 3


def test_generations_of_the_kernels_own_making(memory: Passes, kernel: Kernel) -> None:
    """Under pressure the kernel begins some itself: they make memory look older than it is, and are not believed."""
    memory.watch(watch("pod"))
    turn(memory, kernel, 60)
    for _ in range(3):
        kernel.groups[CONTAINER].age()
        kernel.show()
    assert turn(memory, kernel, 60) is None
    assert turn(memory, kernel, 60) is not None
    assert memory.cold("uid-pod") <= 160 * MIB  # type: ignore[operator]


def test_a_rest_once_little_is_left(memory: Passes, kernel: Kernel) -> None:
    """With less than 2 % cold the passes are far apart, so that what they find was unused for longer."""
    kernel.groups[CONTAINER].used = 252 * PAGES
    memory.watch(watch("pod"))
    for _ in range(80):
        turn(memory, kernel, 10)
    assert [each - kernel.passes[0] for each in kernel.passes] == [0, 60, 120, 180, 480, 780]
    assert memory.cold("uid-pod") == 4 * MIB


def test_a_pod_that_was_hardly_there_at_the_first_pass(memory: Passes, kernel: Kernel) -> None:
    """What it has allocated since is too young to be cold at the third pass, and is known at the fourth."""
    kernel.groups[CONTAINER] = Group(42, {0: 0, 1: 0, 2: 0, 3: 0})
    kernel.show()
    memory.watch(watch("pod"))
    turn(memory, kernel, 60)
    kernel.groups[CONTAINER].generations[kernel.groups[CONTAINER].newest] += 256 * PAGES
    kernel.groups[CONTAINER].used = 96 * PAGES
    kernel.show()
    assert [turn(memory, kernel, 60) for _ in range(3)] == [None, 0, 160 * MIB]


def test_a_cgroup_made_again(memory: Passes, kernel: Kernel) -> None:
    """A container that was restarted begins anew, whether or not the kernel gives it another number."""
    memory.watch(watch("pod"))
    for _ in range(3):
        turn(memory, kernel, 60)
    kernel.groups[CONTAINER] = Group(42, {0: 0, 1: 0, 2: 0, 3: 256 * PAGES}, used=96 * PAGES)
    kernel.show()
    assert [turn(memory, kernel, 60) for _ in range(3)] == [None, None, 160 * MIB]


def test_a_container_that_comes_later(memory: Passes, kernel: Kernel) -> None:
    """It counts when its own window is over; until then the others' part is known."""
    memory.watch(watch("pod"))
    for _ in range(2):
        turn(memory, kernel, 60)
    kernel.groups[f"{POD}/second"] = Group(44, {3: 32 * PAGES})
    kernel.show()
    assert [turn(memory, kernel, 60) for _ in range(3)] == [160 * MIB, 160 * MIB, 192 * MIB]


def test_a_slow_pass_leaves_the_others_for_the_next_turn(memory: Passes, kernel: Kernel) -> None:
    """A turn is bounded, however many pods there are; none is forgotten."""
    kernel.seconds = BUDGET
    memory.watch(watch("pod", "podother"))
    turn(memory, kernel, 60)
    assert len(kernel.passes) == 1
    turn(memory, kernel, 1)
    assert len(kernel.passes) == 2
    turn(memory, kernel, 1)
    assert len(kernel.passes) == 2


def test_a_pod_no_longer_watched(memory: Passes, kernel: Kernel) -> None:
    """Nothing is known of it, no pass goes over it, and nothing is left of it; watched again it begins anew."""
    memory.watch(watch("pod"))
    for _ in range(3):
        turn(memory, kernel, 60)
    memory.watch([])
    assert turn(memory, kernel, 60) is None
    memory.watch(watch("pod"))
    assert turn(memory, kernel, 60) is None
    memory.close()
    assert memory.cold("uid-pod") is None


def test_nothing_is_known_without_the_file(memory: Passes, kernel: Kernel) -> None:
    """MGLRU turned off, or debugfs unmounted, while it runs: what was known is not told any more, and why is."""
    memory.watch(watch("pod"))
    for _ in range(3):
        turn(memory, kernel, 60)
    kernel.path.unlink()
    assert turn(memory, kernel, 10) is None
    assert memory.outcome is Outcome.MISSING


@pytest.mark.parametrize(
    ("code", "outcome"), [(errno.EPERM, Outcome.DENIED), (errno.EINVAL, Outcome.OK), (errno.ENOMEM, Outcome.FAILED)]
)
def test_a_pass_that_is_refused(memory: Passes, kernel: Kernel, code: int, outcome: Outcome) -> None:
    """No pass, no knowledge; EINVAL is a cgroup that has just gone, which is no failure."""
    kernel.refused = code
    memory.watch(watch("pod"))
    assert [turn(memory, kernel, 60) for _ in range(4)] == [None] * 4
    assert memory.outcome is outcome


def test_reading_says_why_not(tmp_path: Path, kernel: Kernel) -> None:
    """Another format is MALFORMED; a refusal is the kernel's."""
    kernel.path.write_text("something else\n", encoding="ascii")
    with HostFs(str(tmp_path)) as host:
        assert LruGen(host).read() is Outcome.MALFORMED
    kernel.path.unlink()
    with HostFs(str(tmp_path)) as host:
        assert LruGen(host).read() is Outcome.MISSING


def test_another_window(memory: Passes, kernel: Kernel) -> None:
    """At once; with a long one a rest is no shorter than the half of it."""
    long = [each._replace(window=1200.0) for each in watch("pod")]
    memory.watch(watch("pod"))
    for _ in range(2):
        turn(memory, kernel, 60)
    memory.watch(long)
    assert [turn(memory, kernel, 60) for _ in range(2)] == [None, None]
    for _ in range(120):
        turn(memory, kernel, 10)
    assert [each - kernel.passes[0] for each in kernel.passes] == [0, 60, 660, 1260]
    assert memory.cold("uid-pod") == 160 * MIB


def test_a_window_that_grows(memory: Passes, kernel: Kernel) -> None:
    """The next pass waits, or the kernel's four generations would not reach back as far when the window is over."""
    memory.watch(watch("pod"))
    for _ in range(3):
        turn(memory, kernel, 60)
    memory.watch([each._replace(window=240.0) for each in watch("pod")])
    assert [turn(memory, kernel, 60) for _ in range(4)][-1] == 160 * MIB
    assert [each - kernel.passes[0] for each in kernel.passes] == [0, 60, 120, 240, 360]
