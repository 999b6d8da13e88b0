"""What is written to the node, and when, in a time that stands still unless it is told not to."""

from __future__ import annotations

from random import Random

from plimsoll.model.publishing import RESOURCE, Publishing
from plimsoll.sources.kube.publishing.node_status import request
from plimsoll.sources.kube.publishing.publication import Fate, Limits, Patch, Publication, Reply
from tests.acting import Clock

LIMITS = Limits()
DONE = Reply(Fate.DONE)


class Node:
    """A publication, and what it wrote."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.publication = Publication(LIMITS, clock=self.clock, random=Random(3))

    def write(self, reply: Reply = DONE, *, last: bool = False) -> int | None:
        """What it writes now, and what comes of it."""
        step = self.publication.next(last=last)
        assert isinstance(step, Patch), step
        self.publication.settle(step, reply)
        return step.size


def test_where_nothing_is_published_nothing_is_said() -> None:
    """Not even to withdraw: the right to do so comes with the feature."""
    node = Node()
    node.publication.want(None, on=False)
    assert node.publication.next() is None
    assert node.publication.next(last=True) is None
    assert node.publication.state == Publishing()


def test_what_an_agent_before_has_left_is_withdrawn() -> None:
    """The first thing said is that nothing stands, once; then there is nothing to do."""
    node = Node()
    node.publication.want(None)
    assert node.write() is None
    assert node.publication.next() is None


def test_every_change_and_now_and_then_the_same() -> None:
    """A kubelet that starts makes 0 of it: what stands is said again every five minutes."""
    node = Node()
    node.publication.want(5)
    assert node.write() == 5
    assert node.publication.next() == LIMITS.repeat
    node.publication.want(7)
    assert node.write() == 7
    node.clock.now += LIMITS.repeat
    assert node.write() == 7
    assert node.publication.state == Publishing(7, 7, known=True, sent=3)


def test_turned_off_it_is_withdrawn() -> None:
    """Also by an administrator, while the agent runs; and on again it is there again."""
    node = Node()
    node.publication.want(5)
    assert node.write() == 5
    node.publication.want(9, on=False)
    assert node.write() is None
    assert node.publication.next() is None
    node.publication.want(9)
    assert node.write() == 9


def test_failures_are_waited_out() -> None:
    """Longer and longer, as long as asked for, and ten minutes for a right; the end waits for nothing."""
    node = Node()
    node.publication.want(5)
    for asked in (None, 40.0):
        node.write(Reply(Fate.FAILED, "server", "500", asked))
        step = node.publication.next()
        assert isinstance(step, float)
        assert (asked or 0.0) <= step <= 42.0
        node.clock.now += step
    node.write(Reply(Fate.FORBIDDEN, "forbidden", "403"))
    assert node.publication.next() == LIMITS.forbidden
    state = node.publication.state
    assert (state.failed, state.trouble) == ({"server": 2, "forbidden": 1}, ("forbidden", "403"))
    node.publication.want(None, on=False)
    assert node.write(last=True) is None
    assert node.publication.state.trouble is None
    assert node.publication.next(last=True) is None


def test_it_is_spelled_as_a_merge_patch() -> None:
    """In whole bytes, in both places; nothing stands by null."""
    amounts = {RESOURCE: "1073741824"}
    assert request("n", Patch(1 << 30)) == (
        "/api/v1/nodes/n/status",
        {"status": {"capacity": amounts, "allocatable": amounts}},
    )
    assert request("n", Patch(None))[1]["status"]["capacity"] == {RESOURCE: None}
