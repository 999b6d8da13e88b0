"""
For any nested wishes, budgets and kills: at no instant is a child wider than its parent, not even on the way back.

The sets of CPUs, which the kernel itself holds to that, have tests of their own (`tests/fault/test_nested_cpusets.py`).
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.actuators.standing import Settings
from plimsoll.model.order import width
from plimsoll.model.plan import Knob
from tests import acting
from tests.acting import PAGE, Agent, Clock, plan, pod, want
from tests.fixtures.hosts import trees

thorough = settings(max_examples=150)

ABOVE: dict[str, str | None] = {acting.ROOT: None, acting.QOS: acting.ROOT, pod(0): acting.QOS, pod(1): acting.QOS}
"""Every cgroup and the one above it, from the root down."""

# One that is never made smaller than it was found, and one that may be.
KNOBS = (Knob.MEMORY_LOW, Knob.MEMORY_SWAP_MAX)
SIZES = st.sampled_from(["0", *(str(pages * PAGE) for pages in (1, 2, 3, 10, 300)), "max"])

Values = dict[tuple[str, Knob], str]


class Killed(BaseException):
    """The end of a process: nothing may take it for an error and go on."""


class Step(NamedTuple):
    """What is wanted of whom, and at which of its writes the agent is killed, if it comes to that many."""

    wanted: Values
    deadly: int | None


def narrower(knob: Knob, *values: str) -> str:
    return min(values, key=lambda each: width(knob, each))


@st.composite
def nested(draw: st.DrawFn) -> Values:
    """Values for all of it in which no child is wider than its parent."""
    found: Values = {}
    for path, above in ABOVE.items():
        for knob in KNOBS:
            limit = "max" if above is None else found[above, knob]
            found[path, knob] = narrower(knob, draw(SIZES), limit)
    return found


@st.composite
def stories(draw: st.DrawFn) -> tuple[Values, list[Step]]:
    """What is found, and nested wishes: whoever is not in one of them gets back what was found."""
    start = draw(nested())
    steps = []
    for _ in range(draw(st.integers(1, 5))):
        wanted: Values = {}
        for (path, knob), size in draw(nested()).items():
            above = ABOVE[path]
            limit = "max" if above is None else wanted.get((above, knob), start[above, knob])
            if narrower(knob, start[path, knob], limit) != start[path, knob] or draw(st.booleans()):
                wanted[path, knob] = narrower(knob, size, limit)
        steps.append(Step(wanted, draw(st.none() | st.integers(0, 12))))
    return start, steps


class Kernel:
    """Looks at everything before each call that may change something, and kills at one of the writes to a knob."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.deadly: int | None = None

    def __call__(self, operation: str, path: str) -> int:
        if operation in ("write", "truncate", "rename"):
            self.check()
            if operation == "write" and path.startswith("/") and self.deadly is not None:
                self.deadly -= 1
                if self.deadly < 0:
                    raise Killed
        return 0

    def check(self) -> None:
        for knob in KNOBS:
            stands = {path: self._line(path, knob) for path in ABOVE}
            for path, above in ABOVE.items():
                assert above is None or width(knob, stands[path]) <= width(knob, stands[above]), (knob, path, stands)

    def _line(self, path: str, knob: Knob) -> str:
        # A file on a disk keeps the tail of a longer value until it is cut.
        return (self._root / trees.CGROUP / path / knob.value).read_text().partition("\n")[0]


@thorough
@given(stories(), st.integers(1, 9))
def test_no_child_is_ever_wider_than_its_parent(story: tuple[Values, list[Step]], budget: int) -> None:
    """However few writes a tick may make, and wherever it is killed; and in the end every byte is as before."""
    start, steps = story
    with TemporaryDirectory() as folder:
        root = trees.write(Path(folder), acting.tree(2, {knob.value: "0\n" for knob in KNOBS}))
        for (path, knob), value in start.items():
            (root / trees.CGROUP / path / knob.value).write_text(f"{value}\n")
        before = acting.values(root)
        kernel, clock = Kernel(root), Clock()

        def begin() -> Agent:
            agent = Agent(root, fault=kernel, clock=clock, settings=Settings(writes_per_tick=budget))
            agent.applier.adopt()
            return agent

        agent = begin()
        for wanted, deadly in steps:
            clock.now += 20
            kernel.deadly = deadly
            try:
                agent.applier.execute(plan(*(want(path, knob, value) for (path, knob), value in wanted.items())))
            except Killed:
                agent.__exit__()
                agent = begin()
            kernel.deadly = None
            kernel.check()
        agent.applier.restore(clock() + 100)
        kernel.check()
        agent.__exit__()
        assert acting.values(root) == before
