"""Evictions asked of a simulated API server: by UID, one at a time, never twice, and every way it can say no."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from plimsoll.model.eviction import Evict, Evicted
from plimsoll.model.outcome import Outcome
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.exchange import Exchange
from plimsoll.sources.kube.evicting import Evictor, Limits
from plimsoll.sources.kube.evicting.eviction import judge
from plimsoll.sources.kube.timing import Timing
from tests.running import until

BRISK = Limits(burst=1000)
PATH = "/api/v1/namespaces/shop/pods/web/eviction"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    server = ApiServer()
    server.start()
    server.put_pod({"metadata": {"namespace": "shop", "name": "web"}, "spec": {"nodeName": "n"}, "status": {}})
    yield server
    server.stop()


Begin = Callable[..., Evictor]


@pytest.fixture
def begin(server: ApiServer, tmp_path: Path) -> Iterator[Begin]:
    begun: list[Evictor] = []

    def start(limits: Limits = BRISK, timing: Timing = Timing(), **options: object) -> Evictor:  # noqa: B008
        kubeconfig = server.write_kubeconfig(tmp_path / "kubeconfig")
        evictor = Evictor(kubeconfig=kubeconfig, limits=limits, timing=timing, random=Random(1), **options)  # type: ignore[arg-type]
        evictor.start()
        begun.append(evictor)
        return evictor

    yield start
    for each in begun:
        each.stop()


def wish(server: ApiServer, **changes: str) -> Evict:
    (pod,) = server.pods
    return Evict(pod["metadata"]["uid"], "shop", "web", "eviction", "why")._replace(**changes)


def settled(evictor: Evictor) -> Evicted:
    """The next result, waited for."""
    (found,) = until(evictor.take, "an answer")
    return found


def going(server: ApiServer) -> bool:
    (pod,) = server.pods
    return "deletionTimestamp" in pod["metadata"]


def test_a_pod_is_evicted_once(server: ApiServer, begin: Begin) -> None:
    """With policy/v1 and the UID as a precondition; the same wish again is not even asked."""
    asked: list[Exchange] = []

    def watch(exchange: Exchange) -> bool:
        asked.append(exchange)
        return False

    server.script = watch
    evictor = begin()
    evictor.want((wish(server),))
    assert settled(evictor) == Evicted(wish(server), Outcome.OK)
    for _ in range(3):
        evictor.want((wish(server),))
    assert evictor.take() == ()

    assert going(server)
    assert [(each.evict, each.outcome) for each in evictor.attempts] == [(wish(server), Outcome.OK)]
    (exchange,) = asked
    assert (exchange.method, exchange.path) == ("POST", PATH)
    assert json.loads(exchange.content) == {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"namespace": "shop", "name": "web"},
        "deleteOptions": {"preconditions": {"uid": wish(server).pod}},
    }


def test_another_pod_of_the_name_is_left_alone(server: ApiServer, begin: Begin) -> None:
    """409: the pod that was meant is gone; the one that has its name now goes on."""
    evictor = begin()
    evictor.want((wish(server, pod="11111111-2222-3333-4444-555555555555"),))
    found = settled(evictor)
    assert found.outcome is Outcome.GONE
    assert "Precondition failed" in found.detail
    assert not going(server)


def test_a_pod_that_is_gone(server: ApiServer, begin: Begin) -> None:
    """404 is not a failure, and not asked again."""
    evictor = begin()
    gone = wish(server, name="other")
    evictor.want((gone,))
    assert settled(evictor).outcome is Outcome.GONE
    evictor.want((gone,))
    assert evictor.take() == ()


def test_a_budget_says_no_until_it_does_not(server: ApiServer, begin: Begin) -> None:
    """429 with a disruption budget's cause: told with the budget's own words, and may be wished for again."""
    server.budgeted = frozenset({("shop", "web")})
    evictor = begin()
    evictor.want((wish(server),))
    found = settled(evictor)
    assert found.outcome is Outcome.BUDGET
    assert "violate the pod's disruption budget" in found.detail
    assert "needs 1 healthy pods and has 1" in found.detail
    assert not going(server)

    server.budgeted = frozenset()
    evictor.want((wish(server),))
    assert settled(evictor).outcome is Outcome.OK


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (403, (Outcome.DENIED, "evict: 403: grant create on pods/eviction to this account with a ClusterRole; no")),
        (422, (Outcome.REJECTED, "evict: 422 no")),
        (400, (Outcome.REJECTED, "evict: 400 no")),
        (500, (Outcome.FAILED, "evict: 500 no")),
    ],
)
def test_every_other_no(server: ApiServer, begin: Begin, code: int, expected: tuple[Outcome, str]) -> None:
    """What is missing, what is wrong, what failed: with the server's words, a missing right with its cure."""

    def refuse(exchange: Exchange) -> bool:
        exchange.status(code, "no")
        return True

    server.script = refuse
    evictor = begin()
    evictor.want((wish(server),))
    found = settled(evictor)
    assert (found.outcome, found.detail) == expected
    assert not going(server)


@pytest.mark.parametrize("code", [429, 503])
def test_a_server_that_asks_for_a_pause_has_it(server: ApiServer, begin: Begin, code: int) -> None:
    """Retry-After: nothing is sent meanwhile, and what was wished for then is not sent later."""
    now = [100.0]

    def refuse(exchange: Exchange) -> bool:
        exchange.status(code, "no", {"Retry-After": "7"})
        return True

    server.script = refuse
    evictor = begin(clock=lambda: now[0])
    evictor.want((wish(server),))
    assert settled(evictor).outcome is Outcome.FAILED
    server.script = None
    now[0] += 6.9
    evictor.want((wish(server),))
    held = settled(evictor)
    assert held.outcome is Outcome.HELD
    assert held.detail.startswith("Too early after the last: ")
    now[0] += 2.0
    assert not going(server)
    evictor.want((wish(server),))
    assert settled(evictor).outcome is Outcome.OK


def test_a_token_that_was_rotated_is_read_again(server: ApiServer, begin: Begin, tmp_path: Path) -> None:
    """401: the next wish has the new one."""
    evictor = begin(Limits(burst=1000, backoff_first=0.0))
    server.token = "rotated"
    server.write_kubeconfig(tmp_path / "kubeconfig")
    evictor.want((wish(server),))
    assert settled(evictor).outcome is Outcome.FAILED
    evictor.want((wish(server),))
    assert settled(evictor).outcome is Outcome.OK


def test_an_api_server_that_is_away(server: ApiServer, begin: Begin) -> None:
    """Refused, or cut off in the middle: failed with the reason, and perhaps done all the same."""
    evictor = begin(Limits(burst=1000, backoff_first=0.0))

    def cut(exchange: Exchange) -> bool:
        exchange.abort()
        return True

    server.script = cut
    evictor.want((wish(server),))
    found = settled(evictor)
    assert (found.outcome, found.detail.startswith("evict: transport: ")) == (Outcome.FAILED, True)
    server.stop()
    evictor.want((wish(server),))
    assert settled(evictor).outcome is Outcome.FAILED


def test_one_at_a_time(server: ApiServer, begin: Begin) -> None:
    """While one is not answered, others are held, and the same is not asked again; what stops, stops at once."""
    server.script = lambda exchange: exchange.hang() is None
    evictor = begin()
    evictor.want((wish(server),))
    evictor.want((wish(server), wish(server, pod="x", name="other")))
    (held,) = evictor.take()
    assert (held.evict.name, held.outcome) == ("other", Outcome.HELD)
    assert [each.outcome for each in evictor.attempts] == [None, Outcome.HELD]
    evictor.stop()
    assert evictor.take() == ()
    evictor.want((wish(server, pod="y"),))
    assert [each.outcome for each in evictor.take()] == [Outcome.HELD]


def test_the_token_bucket(server: ApiServer, begin: Begin) -> None:
    """Whatever is wished for: no more requests than that."""
    server.budgeted = frozenset({("shop", "web")})
    now = [100.0]
    evictor = begin(Limits(burst=2, every=20.0), clock=lambda: now[0])
    outcomes = []
    for _ in range(4):
        evictor.want((wish(server),))
        outcomes.append(settled(evictor).outcome)
    now[0] += 21.0
    evictor.want((wish(server),))
    outcomes.append(settled(evictor).outcome)
    assert outcomes == [Outcome.BUDGET] * 2 + [Outcome.HELD] * 2 + [Outcome.BUDGET]


def test_attempts_are_forgotten_after_an_hour(server: ApiServer, begin: Begin) -> None:
    """A pod that went is not asked for again even then."""
    now = [100.0]
    evictor = begin(clock=lambda: now[0])
    evictor.want((wish(server),))
    settled(evictor)
    now[0] += 3599.0
    assert len(evictor.attempts) == 1
    now[0] += 2.0
    assert evictor.attempts == ()
    evictor.want((wish(server),))
    assert (evictor.take(), evictor.attempts) == ((), ())


@pytest.mark.parametrize(
    ("status", "content", "outcome"),
    [
        (200, {}, Outcome.OK),
        (403, {"details": {"causes": [{"reason": "NamespaceTerminating"}]}}, Outcome.GONE),
        (429, {"details": {"causes": [{"reason": ["DisruptionBudget"]}, 7]}}, Outcome.FAILED),
        (429, {"details": {"causes": [{"reason": "DisruptionBudget", "message": "m"}]}}, Outcome.BUDGET),
        (302, {}, Outcome.REJECTED),
    ],
)
def test_what_an_answer_means(status: int, content: dict[str, object], outcome: Outcome) -> None:
    """Codes and causes from closed sets; the texts are for people."""
    assert judge(status, content).outcome is outcome
