"""For any plans, faults, restarts and outsiders: in the end every byte is as before, or as somebody else left it."""

from __future__ import annotations

import errno
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from tests import acting
from tests.acting import Agent, Clock, Pages, plan, pod, switch, want
from tests.fixtures.hosts import trees

thorough = settings(max_examples=150)

PODS = 2
# Knobs of one file each: cpu.idle and what it carries have tests of their own (test_knob_carried.py).
KNOBS = (Knob.CPU_WEIGHT, Knob.MEMORY_LOW)
GROUPS = (acting.ROOT, acting.QOS, *(pod(number) for number in range(PODS)))
PLACES = [(group, knob) for group in GROUPS for knob in KNOBS]
# Ours and the outsider's values differ, so that it can be told whose stands. Theirs are whole pages.
OURS = st.sampled_from(["1", "4096", "6000", "70000", "131072"])
THEIRS = st.sampled_from(["196608", "262144"])
WRITES = st.dictionaries(st.sampled_from(PLACES), OURS, max_size=6)
SWITCHED = st.booleans()
CODES = st.sampled_from([errno.EBUSY, errno.EINVAL, errno.EACCES, errno.EIO, errno.EMFILE, errno.EAGAIN])

PLAN = st.tuples(st.just("plan"), WRITES, SWITCHED, st.integers(0, 20))
OUTSIDER = st.tuples(st.just("outsider"), st.sampled_from(PLACES), THEIRS)
FAULT = st.tuples(st.just("fault"), st.integers(0, 25), CODES)
REMAKE = st.tuples(st.just("remake"), st.integers(0, PODS - 1))
RESTART = st.tuples(st.just("restart"))
FULL = st.tuples(st.just("full"), st.booleans())


class Trouble:
    """Fails the Nth call at the host's boundary from now on, and the journal while its disk is full."""

    def __init__(self) -> None:
        self.countdown = -1
        self.code = 0
        self.full = False
        self._pages = Pages()

    def __call__(self, operation: str, path: str) -> int:
        if path.startswith("journal"):
            return errno.ENOSPC if self.full and operation in {"open", "write"} else 0
        # ENOENT and ENODEV would say that a cgroup is gone, which is true only of one that is.
        self.countdown -= 1
        return self.code if self.countdown == -1 else self._pages(operation, path)


class Story:
    """A node, the agent on it, and what outsiders did, by file."""

    def __init__(self, root: Path) -> None:
        self.root = trees.write(root / "node", acting.tree(PODS))
        self.graves = root / "graves"
        self.graves.mkdir()
        self.start = acting.values(self.root)
        self.theirs: dict[str, list[bytes]] = {}
        self.clock = Clock()
        self.trouble = Trouble()
        self.agent = Agent(self.root, fault=self.trouble, clock=self.clock)
        self.agent.applier.adopt()

    def plan(self, writes: dict[tuple[str, Knob], str], switched: bool, seconds: int) -> None:
        self.clock.now += seconds
        wanted = [want(group, knob, value) for (group, knob), value in writes.items()]
        self.agent.applier.execute(plan(*wanted, *([switch()] if switched else [])))

    def outsider(self, place: tuple[str, Knob], value: str) -> None:
        group, knob = place
        name = f"{trees.CGROUP}/{group}/{knob.value}"
        (self.root / name).write_text(f"{value}\n")
        self.theirs.setdefault(name, []).append(f"{value}\n".encode())

    def fault(self, countdown: int, code: int) -> None:
        self.trouble.countdown, self.trouble.code = countdown, code

    def remake(self, number: int) -> None:
        """The pod's cgroup is removed and another one made under its name."""
        path = self.root / trees.CGROUP / pod(number)
        # A disk's file system would give its inode number to the next directory; the kernel's never does.
        path.rename(self.graves / str(len(list(self.graves.iterdir()))))
        trees.write(self.root, trees.below(f"{trees.CGROUP}/{pod(number)}", acting.KNOB_FILES))
        for knob in KNOBS:
            self.theirs.pop(f"{trees.CGROUP}/{pod(number)}/{knob.value}", None)

    def full(self, full: bool) -> None:
        self.trouble.full = full

    def restart(self) -> None:
        """Without putting anything back, as after SIGKILL."""
        self.agent.__exit__()
        # Finding the hierarchies is not what is tested.
        countdown, self.trouble.countdown = self.trouble.countdown, -1
        self.agent = Agent(self.root, fault=self.trouble, clock=self.clock)
        self.trouble.countdown = countdown
        self.agent.applier.adopt()

    def end(self) -> None:
        """Put everything back, and judge the outcome."""
        self.trouble.countdown = -1
        self.trouble.full = False
        before = acting.values(self.root)
        owned = {
            f"{trees.CGROUP}/{key.target.path}/{key.knob.value}": f"{record.original}\n".encode()
            for key, record in self.agent.journal.originals.items()
            if key.identity in (0, (self.root / trees.CGROUP / key.target.path).stat().st_ino)
        }
        results = self.agent.applier.restore(self.clock() + 100)
        drifted = {
            f"{trees.CGROUP}/{each.write.target.path}/{each.write.knob.value}"
            for each in results
            if each.outcome is Outcome.DRIFTED
        }
        after = acting.values(self.root)
        assert after.keys() == self.start.keys()
        for name, value in after.items():
            theirs = self.theirs.get(name, [])
            assert value in (self.start[name], *theirs), name
            if theirs and before[name] == theirs[-1]:
                assert value == theirs[-1], name
                assert name in drifted or owned.get(name, value) == value, name
            else:
                assert name not in drifted
        assert not self.agent.journal.originals
        assert self.agent.journal.size == 0


def play(steps: list[tuple[object, ...]]) -> None:
    with TemporaryDirectory() as folder:
        story = Story(Path(folder))
        for name, *arguments in steps:
            getattr(story, str(name))(*arguments)
        story.end()
        story.agent.__exit__()


@thorough
@given(st.lists(st.one_of(PLAN, PLAN, OUTSIDER, FAULT, REMAKE, RESTART), max_size=14))
def test_everything_goes_back_but_what_somebody_else_wrote(steps):
    """Failing calls, cgroups made anew and kills: nothing of ours stays, nothing of theirs is lost, theirs is told."""
    play(steps)


@thorough
@given(st.lists(st.one_of(PLAN, PLAN, OUTSIDER, FULL), max_size=14))
def test_with_a_full_disk_nothing_stays_that_could_not_be_put_back(steps):
    """The journal's disk is full at any time: what was written all the same goes back."""
    play(steps)
