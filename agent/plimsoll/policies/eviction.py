"""
Eviction: the last resort. One low-priority pod at a time goes where high-priority pods go on waiting all the same.

Decides only; ``docs/policies/eviction.md`` is the contract. What an eviction came to it learns from the snapshot. It
must not know how pods are evicted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from plimsoll.config.eviction_section import EvictionSection
from plimsoll.model.eviction import Attempt, Evict, Eviction, Pause, Resource, Shortage
from plimsoll.model.outcome import Outcome
from plimsoll.model.snapshot import Snapshot
from plimsoll.policies import eviction_victim
from plimsoll.policies.eviction_stall import NODE, Episode, follow, shortages
from plimsoll.policies.policy import Decision, Policy

NAME = "eviction"
API = "eviction-api"
"""The capability of an agent that knows an API server."""

HOUR = 3600.0
# A pod may take its time to end, but one that never does must not keep all others from being evicted for ever.
TERMINATING_SECONDS = 600.0
# A budget has room again when its pods are ready elsewhere: minutes. What fails for one pod may go well for another.
AGAIN_SECONDS = 300.0
# Rights are granted by people.
FORBIDDEN_SECONDS = 600.0
REFUSED_SECONDS = 30.0

_GONE = frozenset({Outcome.OK, Outcome.GONE})
_WORDS: Mapping[Resource, str] = {Resource.CPU: "a CPU", Resource.MEMORY: "memory", Resource.IO: "disks"}


class Asked(NamedTuple):
    """A pod, by UID, and when its eviction was wished for."""

    pod: str
    at: float


class State(NamedTuple):
    """
    ``begun``, ``at``: the first decision in this ``mode`` and the last one, monotonic seconds. ``asked``: the wishes of
    the last hour, of which nothing else may ever be heard where nothing is carried out.
    """

    mode: str = ""
    begun: float | None = None
    at: float | None = None
    episodes: tuple[Episode, ...] = ()
    asked: tuple[Asked, ...] = ()


def decide(snapshot: Snapshot, config: EvictionSection, state: State) -> Decision[State]:
    """Whom to evict now, if anybody; and why not."""
    now = snapshot.monotonic
    if state.mode != config.mode:
        # What was only observed has evicted nobody, and whoever enforces begins carefully.
        state = State(config.mode)
    begun = now if state.begun is None else state.begun
    seconds = 0.0 if state.at is None else now - state.at
    asked = tuple(each for each in state.asked if now - each.at < HOUR)
    # What a source says that does not answer is old: nobody is evicted for what was true a while ago.
    fresh = all(each.ok for each in snapshot.sources) and seconds >= 0
    episodes = follow(state.episodes, snapshot, seconds, config) if fresh else ()
    found = shortages(episodes, now, config)
    attempts = _attempts(snapshot, asked)
    done = [each for each in attempts if each.outcome is Outcome.OK]
    pause, evict = Pause.NONE, None
    wanting = [each for each in found if each.sustained]
    if wanting:
        pause = _pause(snapshot, attempts, begun, config)
        if pause is Pause.NONE:
            evict = _evict(snapshot, wanting, attempts, config)
            pause = Pause.NOBODY if evict is None else Pause.NONE
    if evict is not None:
        asked = (*asked, Asked(evict.pod, now))
        # What comes after it is looked at anew.
        episodes = ()
    return Decision(
        (),
        State(config.mode, begun, now, episodes, asked),
        evictions=() if evict is None else (evict,),
        eviction=Eviction(found, pause, len(done) + (evict is not None)),
    )


def _attempts(snapshot: Snapshot, asked: tuple[Asked, ...]) -> list[Attempt]:
    """What was wished for in the last hour. One nothing is heard of counts as done: it is only observed."""
    now = snapshot.monotonic
    heard = [each for each in snapshot.evictions if now - each.at < HOUR]
    known = {each.evict.pod for each in heard}
    unheard = (Attempt(Evict(each.pod, "", "", NAME, ""), Outcome.OK, each.at) for each in asked)
    return [*heard, *(each for each in unheard if each.evict.pod not in known)]


def _pause(snapshot: Snapshot, attempts: list[Attempt], begun: float, config: EvictionSection) -> Pause:
    """Why nobody may be evicted now, whoever it would be."""
    now = snapshot.monotonic
    there = {each.pod.uid for each in snapshot.pods}
    really = {each.evict.pod for each in snapshot.evictions}
    if now - begun < config.settle:
        return Pause.STARTING
    if any(each.outcome is None for each in attempts):
        return Pause.ASKED
    for each in attempts:
        ago, outcome = now - each.at, each.outcome
        if outcome is Outcome.DENIED and ago < FORBIDDEN_SECONDS:
            return Pause.FORBIDDEN
        # What failed without an answer may have been done all the same.
        if (outcome in _GONE or outcome is Outcome.FAILED) and ago < config.settle:
            return Pause.SETTLING
        if outcome is Outcome.OK and each.evict.pod in really & there and ago < TERMINATING_SECONDS:
            return Pause.TERMINATING
        if outcome not in _GONE and ago < REFUSED_SECONDS:
            return Pause.REFUSED
    evicted = sum(each.outcome is Outcome.OK for each in attempts)
    return Pause.RATE if evicted >= config.max_per_hour else Pause.NONE


def _evict(
    snapshot: Snapshot, wanting: list[Shortage], attempts: list[Attempt], config: EvictionSection
) -> Evict | None:
    spared = {each.evict.pod for each in attempts if _spared(each, snapshot.monotonic)}
    for shortage in wanting:
        candidate = eviction_victim.choose(snapshot, shortage.resource, config.least_use, spared)
        if candidate is not None:
            pod = candidate.sample.pod
            reason = _reason(shortage, eviction_victim.describe(candidate, shortage.resource))
            return Evict(pod.uid, pod.namespace, pod.name, NAME, reason, _name(snapshot, shortage.pod))
    return None


def _spared(attempt: Attempt, now: float) -> bool:
    """Whether this pod is not asked for again now: it is as good as gone, or would be refused once more."""
    if attempt.outcome in (Outcome.BUDGET, Outcome.FAILED):
        return now - attempt.at < AGAIN_SECONDS
    return attempt.outcome in _GONE or attempt.outcome is Outcome.REJECTED


def _reason(shortage: Shortage, part: str) -> str:
    who = "Nothing on this node" if shortage.pod == NODE else "A high-priority pod on this node"
    waited = "could run, waiting" if shortage.pod == NODE else "had to wait"
    return (
        f"{who} {waited} for {_WORDS[shortage.resource]} {shortage.share:.0%} of the time for "
        f"{shortage.seconds:.0f} s, although low-priority pods give way. Of those that may be evicted this one has "
        f"the largest part in it: it {part}."
    )


def _name(snapshot: Snapshot, uid: str) -> str:
    return next((f"{each.pod.namespace}/{each.pod.name}" for each in snapshot.pods if each.pod.uid == uid), "")


POLICY: Policy[EvictionSection, State] = Policy(
    name=NAME,
    interval=0.0,
    needs=("cgroup", "kubepods", API),
    bounds=frozenset(),
    initial=State(),
    decide=decide,
    evicts=True,
)
