"""What is told when, in virtual time: days of notices in milliseconds, and no storm whatever they do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.model.announcing import Channel
from plimsoll.sources.kube.announcing.ledger import Ledger
from plimsoll.sources.kube.announcing.limits import Limits
from plimsoll.sources.kube.announcing.notice import PRIORITY, Certainty, Key, Notice, PodRef, Said
from plimsoll.sources.kube.announcing.objects import event_name
from plimsoll.sources.kube.announcing.task import ConditionTask, EventTask, Fate, Found, ListTask, Reply, Task
from plimsoll.sources.kube.announcing.truth import Truth

TICK = 5.0
HOUR = 3600.0
LIMITS = Limits()
EVENTS = frozenset({Channel.EVENT})
CONDITIONS = frozenset({Channel.CONDITION})
BOTH = EVENTS | CONDITIONS
HOT_LOOP = 100_000
POLICY = "preemption"


def ref(number: int, *, managed: bool = True) -> PodRef:
    return PodRef(f"uid-{number}", "shop", f"pod-{number}", managed)


def notice(number: int, message: str = "It is so.", reason: str = "Odd", *, managed: bool = True) -> Notice:
    return Notice(ref(number, managed=managed), POLICY, reason, message)


def tell(
    *notices: Notice,
    pods: Iterable[PodRef] = (),
    certainty: Certainty = Certainty.DECIDED,
    withheld: Iterable[Key] = (),
) -> Said:
    """A tick: what is said, of pods that are there besides, by a policy in a certain state."""
    present = {each.uid: each for each in (*pods, *(each.pod for each in notices))}
    sure = {POLICY: certainty, PRIORITY: Certainty.DECIDED}
    return Said(present, {each.key: each for each in notices}, sure, frozenset(withheld))


Server = Callable[[Task], Reply]


@dataclass
class World:
    """A clock, a cluster that remembers its events, and a ledger that is asked whenever something is due."""

    channels: frozenset[Channel] = EVENTS
    limits: Limits = LIMITS
    server: Server | None = None
    now: float = 1000.0
    asked: list[tuple[float, Task]] = field(default_factory=list)
    events: dict[str, int] = field(default_factory=dict)
    found: tuple[Found, ...] = ()

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """An agent starts, and knows nothing of the one before it."""
        self.ledger = Ledger(self.limits, clock=lambda: self.now, random=Random(1))
        self.ledger.configure(self.channels)

    def answer(self, task: Task) -> Reply:
        if isinstance(task, ListTask):
            return Reply(Fate.DONE, found=self.found)
        if not isinstance(task, EventTask):
            return Reply(Fate.DONE)
        name = event_name(task.notice)
        if not task.repeat:
            if name in self.events:
                return Reply(Fate.EXISTS)
            self.events[name] = 1
            return Reply(Fate.DONE, times=1)
        if name not in self.events:
            return Reply(Fate.EXPIRED)
        if task.times is not None:
            self.events[name] = task.times
        return Reply(Fate.DONE, times=self.events[name])

    def send(self, until: float) -> None:
        """Do what is due before ``until``, as the thread does: a request takes no time here."""
        while (step := self.ledger.next()) is not None:
            if isinstance(step, (int, float)):
                assert step > 0
                if self.now + step > until:
                    return
                self.now += step
                continue
            self.asked.append((self.now, step))
            assert len(self.asked) < HOT_LOOP, "a hot loop"
            self.ledger.settle(step, (self.server or self.answer)(step))

    def live(self, seconds: float, say: Callable[[int], Said]) -> None:
        """Ticks for so long; ``say``: what the tick of a number, from 0, has to say."""
        for tick in range(round(seconds / TICK)):
            end = self.now + TICK
            self.ledger.hear(say(tick))
            self.send(end)
            self.now = end

    def of(self, kind: type[Task]) -> list[tuple[float, Task]]:
        return [(at, task) for at, task in self.asked if isinstance(task, kind)]

    def statuses(self) -> list[str]:
        return [task.truth.value for _, task in self.asked if isinstance(task, ConditionTask)]


def test_what_stays_true_is_told_once_an_hour() -> None:
    """A day of it: 24 requests, on one event that counts up to 24."""
    world = World()
    world.live(24 * HOUR, lambda _: tell(notice(1)))

    assert list(world.events.values()) == [24]
    assert len(world.asked) == 24
    assert [task.repeat for _, task in world.of(EventTask)] == [False] + [True] * 23
    assert world.ledger.state.sent == {Channel.EVENT: 24}
    assert (world.ledger.state.suppressed, world.ledger.state.waiting) == (0, 0)


def test_a_restarted_agent_does_not_say_it_again() -> None:
    """Its first request finds the event; the next comes an hour later, and counts on from what the event says."""
    world = World()
    world.live(600, lambda _: tell(notice(1)))
    world.begin()
    world.live(600, lambda _: tell(notice(1)))
    assert list(world.events.values()) == [1]
    assert world.ledger.state.sent == {Channel.EVENT: 0}
    assert world.ledger.state.suppressed == 1
    assert world.ledger.state.failed == {}
    world.live(3 * HOUR, lambda _: tell(notice(1)))

    # The first patch says when; what it answers says how often, and the next counts.
    assert list(world.events.values()) == [3]


def test_an_event_that_was_forgotten_is_created_again() -> None:
    """The API server keeps events for an hour: each time the count finds nothing, a new event takes its place."""
    world = World()

    def say(_: int) -> Said:
        if world.asked and world.now - world.asked[-1][0] > 3000:
            world.events.clear()
        return tell(notice(1))

    world.live(5 * HOUR, say)

    assert [task.repeat for _, task in world.of(EventTask)] == [False] + [True, False] * 4
    assert world.ledger.state.sent == {Channel.EVENT: 5}
    assert world.ledger.state.failed == {}


def test_new_words_are_told_soon_but_not_at_will() -> None:
    """An owner who mends one mistake and makes another is told within minutes; one who flips has one in five."""
    world = World()
    world.live(10, lambda _: tell(notice(1, "first")))
    world.live(LIMITS.changed, lambda _: tell(notice(1, "second")))
    assert len(world.events) == 2
    world.asked.clear()
    world.live(HOUR, lambda tick: tell(notice(1, f"number {tick}")))

    assert len(world.asked) <= HOUR / LIMITS.changed + 1


def test_what_comes_back_within_the_hour_is_not_told_again() -> None:
    """Ten minutes on, ten minutes off: one event an hour; what was left out is counted."""
    world = World()
    world.live(6 * HOUR, lambda tick: tell(*([notice(1)] if tick // 120 % 2 == 0 else []), pods=[ref(1)]))

    assert len(world.asked) <= 7
    assert world.ledger.state.suppressed == 18 - len(world.asked)


def test_what_is_no_longer_true_when_its_turn_comes_is_not_told() -> None:
    """100 at once, all of them mended after a minute: what did not get its turn by then never gets it."""
    world = World()
    everybody = [ref(number) for number in range(100)]
    world.live(60, lambda _: tell(*(notice(number) for number in range(100))))
    told = len(world.asked)
    world.live(HOUR, lambda _: tell(pods=everybody))

    assert told <= LIMITS.burst + 6 + 1
    assert len(world.asked) == told
    assert world.ledger.state.suppressed == 100 - told
    assert world.ledger.state.waiting == 0


def test_a_pod_that_is_gone_is_forgotten() -> None:
    """Nothing is told of it any more, and nothing remembered: thousands of pods an hour leave nothing behind."""
    world = World(channels=BOTH, limits=LIMITS._replace(waiting=5))
    world.live(HOUR, lambda tick: tell(*(notice(10 * tick + each) for each in range(10))))

    # The names of its dictionaries are the ledger's business; that there is next to nothing in them is not.
    kept = [len(each) for part in (world.ledger._events, world.ledger._conditions) for each in vars(part).values()
            if isinstance(each, (dict, set))]  # fmt: skip
    assert kept
    assert max(kept) <= 10
    assert len(world.ledger._matters.all) == 10
    assert world.ledger.state.waiting <= 2 * LIMITS.waiting


def rate_holds(world: World) -> None:
    """Never more requests than the burst, and one in ten seconds after it, whichever stretch of time is looked at."""
    times = [at for at, _ in world.asked]
    for first in range(len(times)):
        for last in range(first, len(times), 7):
            allowed = LIMITS.burst + (times[last] - times[first]) / LIMITS.every + 1
            assert last - first + 1 <= allowed


def test_ten_thousand_notices_that_flap_make_no_storm() -> None:
    """Every tick turns all of them on or off, for half an hour: requests stay within the bucket, the line bounded."""
    world = World(channels=BOTH)
    pods = [ref(number) for number in range(10_000)]
    everything = tell(*(notice(number) for number in range(10_000)))
    nothing = tell(pods=pods)
    world.live(HOUR / 2, lambda tick: everything if tick % 2 == 0 else nothing)
    state = world.ledger.state

    rate_holds(world)
    assert LIMITS.burst < len(world.asked) <= LIMITS.burst + HOUR / 2 / LIMITS.every + 1
    assert state.waiting <= 2 * LIMITS.waiting
    assert state.suppressed >= 10_000 - LIMITS.waiting - len(world.asked)
    # A flapping notice counts as true: no condition went back and forth.
    assert set(world.statuses()) <= {"True"}
    assert set(Counter(task.notice.key for _, task in world.of(EventTask)).values()) == {1}


@settings(max_examples=60)
@given(
    ticks=st.lists(
        st.dictionaries(st.integers(0, 40), st.sampled_from(["a", "b", "c"]), max_size=40), min_size=1, max_size=80
    ),
    fates=st.lists(st.sampled_from(list(Fate)), min_size=1, max_size=50),
    channels=st.sampled_from([EVENTS, CONDITIONS, BOTH]),
)
def test_whatever_is_said_and_answered_the_rate_holds(
    ticks: list[dict[int, str]], fates: list[Fate], channels: frozenset[Channel]
) -> None:
    """Any notices in any order, a server with any answers: bounded requests, a bounded line, every request counted."""
    answers = iter(fates)
    world = World(channels=channels)
    world.server = lambda _: Reply(next(answers, Fate.DONE), "reason", "message")
    world.live(
        len(ticks) * TICK * 10,
        lambda tick: tell(*(notice(who, words) for who, words in ticks[tick // 10].items())),
    )
    state = world.ledger.state

    rate_holds(world)
    assert state.waiting <= 2 * LIMITS.waiting
    assert sum(state.sent.values()) + sum(state.failed.values()) <= len(world.asked)
    told = Counter((task.notice.key, event_name(task.notice)) for _, task in world.of(EventTask))
    assert all(times <= LIMITS.attempts + len(fates) for times in told.values())


def test_nobody_waits_for_ever_behind_one_who_cannot_be_told() -> None:
    """A server that fails for one pod: it goes to the end, is given up after five, and is tried again in an hour."""
    world = World()
    sick = notice(0).key
    good: list[str] = []

    def server(task: Task) -> Reply:
        assert isinstance(task, EventTask)
        if task.notice.key == sick:
            return Reply(Fate.FAILED, "server", "500")
        good.append(task.notice.pod.uid)
        return Reply(Fate.DONE, times=1)

    world.server = server
    world.live(HOUR / 2, lambda _: tell(*(notice(number) for number in range(10))))

    assert sorted(good) == sorted(f"uid-{number}" for number in range(1, 10))
    assert world.ledger.state.failed == {(Channel.EVENT, "server"): LIMITS.attempts}
    world.live(HOUR, lambda _: tell(*(notice(number) for number in range(10))))
    assert world.ledger.state.failed[Channel.EVENT, "server"] > LIMITS.attempts


def test_an_outage_is_waited_for_with_growing_patience() -> None:
    """Six hours without an answer: some dozens of attempts, and afterwards everybody is told by and by."""
    world = World()
    end = world.now + 6 * HOUR
    world.server = lambda task: Reply(Fate.AWAY, "transport") if world.now < end else world.answer(task)
    world.live(6 * HOUR, lambda _: tell(*(notice(number) for number in range(30))))
    assert len(world.asked) < 6 * HOUR / 60
    assert world.ledger.state.waiting == 30
    assert world.ledger.state.troubles[Channel.EVENT][0] == "transport"
    world.live(2 * HOUR, lambda _: tell(*(notice(number) for number in range(30))))

    assert len(world.events) == 30
    assert world.ledger.state.troubles == {}


@pytest.mark.parametrize(("asked", "least", "most"), [(120.0, 120.0, 122.0), (86_400.0, 300.0, 302.0)])
def test_retry_after_is_honoured_within_reason(asked: float, least: float, most: float) -> None:
    """Nothing at all is sent before it is over; a server that asks for a day gets five minutes."""
    world = World()
    answers = iter([Reply(Fate.AWAY, "throttled", retry_after=asked)])
    world.server = lambda task: next(answers, None) or world.answer(task)
    world.live(HOUR / 2, lambda _: tell(notice(1), notice(2)))
    (first, _), (second, _) = world.asked[:2]

    assert least <= second - first <= most
    assert len(world.events) == 2


def test_a_missing_right_closes_its_channel_alone() -> None:
    """403 for events: one request in ten minutes, what waits keeps its place, conditions go on."""
    world = World(channels=BOTH)
    granted = world.now + 2 * HOUR

    def server(task: Task) -> Reply:
        if isinstance(task, EventTask) and world.now < granted:
            return Reply(Fate.FORBIDDEN, "forbidden", "grant it")
        return world.answer(task)

    world.server = server
    world.live(2 * HOUR - 60, lambda _: tell(*(notice(number) for number in range(20))))
    assert len(world.of(EventTask)) == 12
    assert world.statuses() == ["True"] * 20
    assert world.ledger.state.troubles == {Channel.EVENT: ("forbidden", "grant it")}
    world.live(HOUR, lambda _: tell(*(notice(number) for number in range(20))))

    assert len(world.events) == 20
    assert world.ledger.state.troubles == {}


@pytest.mark.parametrize("fate", [Fate.GONE, Fate.REFUSED])
@pytest.mark.parametrize("channels", [EVENTS, CONDITIONS], ids=["events", "conditions"])
def test_what_no_server_takes_is_dropped(fate: Fate, channels: frozenset[Channel]) -> None:
    """Asked once, not again for an hour, and nobody behind it waits."""
    world = World(channels=channels)
    world.server = lambda task: world.answer(task) if isinstance(task, ListTask) else Reply(fate, "why", "words")
    world.live(HOUR - 60, lambda _: tell(*(notice(number) for number in range(10))))
    (channel,) = channels
    requests = [task for _, task in world.asked if not isinstance(task, ListTask)]

    assert len(requests) == 10
    assert world.ledger.state.failed == {(channel, "why"): 10}
    assert world.ledger.state.waiting == 0
    # A pod that is gone is everyday life; an object that is refused is not.
    assert bool(world.ledger.state.troubles) is (fate is Fate.REFUSED)


def test_a_condition_follows_the_truth() -> None:
    """True at once; False when it was not said for a minute; its transitions are marked, its new words are not one."""
    world = World(channels=CONDITIONS)
    world.live(120, lambda _: tell(notice(1, "first")))
    world.live(120, lambda _: tell(notice(1, "second")))
    ended = world.now
    world.live(300, lambda _: tell(pods=[ref(1)]))
    tasks = [(at, task) for at, task in world.asked if isinstance(task, ConditionTask)]

    assert [(task.truth.value, task.transition, task.notice.message) for _, task in tasks] == [
        ("True", True, "first"),
        ("True", False, "second"),
        ("False", True, "second"),
    ]
    assert LIMITS.settle <= tasks[2][0] - ended <= LIMITS.settle + 2 * TICK


def test_a_condition_is_written_once_a_minute_at_most() -> None:
    """Words that are others in every tick are no reason to write more often."""
    world = World(channels=CONDITIONS, limits=LIMITS._replace(every=0.1))
    world.live(HOUR, lambda tick: tell(notice(1, f"number {tick}")))
    times = [at for at, _ in world.of(ConditionTask)]

    assert len(times) > 30
    assert all(after - before >= LIMITS.settle for before, after in pairwise(times))


def test_a_condition_that_fails_is_given_up_for_an_hour() -> None:
    """Five attempts; afterwards others are told, and this one is tried again."""
    world = World(channels=CONDITIONS)
    world.server = lambda task: world.answer(task) if isinstance(task, ListTask) else Reply(Fate.FAILED, "server")
    world.live(HOUR - 60, lambda _: tell(notice(1)))
    assert world.ledger.state.failed == {(Channel.CONDITION, "server"): LIMITS.attempts}
    world.server = None
    world.live(HOUR / 2, lambda _: tell(notice(1)))

    assert world.statuses() == ["True"] * (LIMITS.attempts + 1)


@pytest.mark.parametrize(
    ("certainty", "withheld", "expected"),
    [
        (Certainty.DECIDED, False, ["True", "False"]),
        (Certainty.DECIDED, True, ["True", "Unknown"]),
        (Certainty.SILENT, False, ["True", "Unknown"]),
        (Certainty.HELD, False, ["True"]),
    ],
)
def test_not_said_is_not_always_not_so(certainty: Certainty, withheld: bool, expected: list[str]) -> None:
    """A policy that is off, or writes no more, leaves it unknown; one that only waits leaves it as it is."""
    world = World(channels=CONDITIONS)
    world.live(120, lambda _: tell(notice(1)))
    keys = [notice(1).key] if withheld else []
    world.live(HOUR, lambda _: tell(pods=[ref(1)], certainty=certainty, withheld=keys))

    assert world.statuses() == expected


def test_a_pod_of_which_nothing_was_ever_true_gets_no_condition() -> None:
    """No False on every pod of the node; and none at all on those that are never acted upon."""
    world = World(channels=CONDITIONS)
    world.live(HOUR, lambda _: tell(notice(2, managed=False), pods=[ref(1)]))

    assert world.statuses() == []


def test_conditions_an_agent_left_are_found_first_and_follow() -> None:
    """Still true: nothing is written. No longer true: False. A pod that is gone: nothing, and nothing loops."""
    world = World(channels=CONDITIONS)
    world.found = tuple(Found(notice(number), Truth.TRUE) for number in (1, 2, 3))
    world.live(600, lambda _: tell(notice(1), pods=[ref(2)]))

    assert [type(task) for _, task in world.asked] == [ListTask, ConditionTask]
    (_, task) = world.asked[1]
    assert isinstance(task, ConditionTask)
    assert (task.notice.pod.uid, task.truth, task.transition) == ("uid-2", Truth.FALSE, True)


def test_what_an_agent_left_is_no_event_of_this_one() -> None:
    """A condition that is found makes no event: this agent has not said it."""
    world = World(channels=BOTH)
    world.found = (Found(notice(1), Truth.TRUE),)
    world.live(600, lambda _: tell(pods=[ref(1)]))

    assert world.of(EventTask) == []


@pytest.mark.parametrize(("fate", "most"), [(Fate.FORBIDDEN, 6), (Fate.REFUSED, 6), (Fate.FAILED, 60), (Fate.AWAY, 60)])
def test_without_the_list_no_condition_is_written(fate: Fate, most: int) -> None:
    """What stands is not known then. It is asked for again, seldom; events do not wait for it for ever."""
    world = World(channels=BOTH)
    world.server = lambda task: Reply(fate, "x") if isinstance(task, ListTask) else world.answer(task)
    world.live(HOUR - 60, lambda _: tell(notice(1)))

    assert 2 <= len(world.of(ListTask)) <= most
    assert world.statuses() == []
    assert len(world.events) == 1


def test_a_condition_that_was_turned_away_is_written_in_the_end() -> None:
    """More than the line holds: a condition is a state, and comes when there is room."""
    world = World(channels=CONDITIONS, limits=LIMITS._replace(waiting=10, every=1.0))
    world.live(600, lambda _: tell(*(notice(number) for number in range(100))))

    assert len(world.statuses()) == 100


def test_what_is_off_is_not_told_and_begins_afresh() -> None:
    """Turned off: nothing is asked. Turned on: conditions are looked for again, events find themselves."""
    world = World(channels=BOTH)
    world.live(60, lambda _: tell(notice(1)))
    before = len(world.asked)
    world.ledger.configure(frozenset())
    world.live(HOUR, lambda _: tell(notice(1)))
    assert len(world.asked) == before
    assert world.ledger.state.unavailable == "off"
    world.found = (Found(notice(1), Truth.TRUE),)
    world.ledger.configure(BOTH)
    world.live(60, lambda _: tell(notice(1)))

    assert {type(task) for _, task in world.asked[before:]} == {ListTask, EventTask}
    assert list(world.events.values()) == [1]


def test_a_reply_that_comes_after_the_channel_was_turned_off_is_nothing() -> None:
    """The administrator was faster than the API server."""
    world = World()
    world.ledger.hear(tell(notice(1)))
    task = world.ledger.next()
    assert isinstance(task, EventTask)
    world.ledger.configure(frozenset())
    world.ledger.settle(task, Reply(Fate.DONE, times=1))

    assert world.ledger.state.sent == {}
    assert world.ledger.next() is None
