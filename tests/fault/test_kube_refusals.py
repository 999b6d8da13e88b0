"""F27: servers that say no, for now or until somebody does something."""

from __future__ import annotations

from pathlib import Path

import pytest

from plimsoll.simulator.exchange import Exchange
from tests.fault.kube_day import QUICK, Step, day, manifest


def refuse(code: int, message: str = "", **headers: str) -> Step:
    return lambda exchange: exchange.status(
        code, message, {key.replace("_", "-"): value for key, value in headers.items()}
    )


def test_f27_a_rotated_token_is_read_again(tmp_path: Path) -> None:
    """401 with the old token: the pods stay, the kubeconfig is read again, and the next watch has the new token."""
    with day(tmp_path, "a") as today:
        today.until_names("a")
        today.until_watching()
        today.server.stop()
        today.server.token = "rotated"
        today.server.start()
        today.until(lambda: today.errors("unauthorized") >= 1, "refused")
        assert today.names() == {"a"}
        assert not today.now().state.ok
        today.server.write_kubeconfig(today.kubeconfig)
        today.server.put_pod(manifest("b"))
        today.until_names("a", "b")

        assert today.now().state.ok
        assert len(today.script.asked(watching=False)) == 1


@pytest.mark.parametrize("broken", ["", "not: [closed", "kind: Config\n"], ids=["empty", "yaml", "no-context"])
def test_f27_a_kubeconfig_that_is_broken_while_it_is_rotated_is_tried_again(tmp_path: Path, broken: str) -> None:
    """Half a file, or none: the old credentials stay, it is counted, and a good file is taken when it comes."""
    with day(tmp_path, "a") as today:
        today.until_names("a")
        today.until_watching()
        today.server.stop()
        today.server.token = "rotated"
        if broken:
            today.kubeconfig.write_text(broken)
        else:
            today.kubeconfig.unlink()
        today.server.start()
        today.until(lambda: today.errors("credentials") >= 1, "not readable")
        assert today.names() == {"a"}
        today.server.write_kubeconfig(today.kubeconfig)
        today.until(lambda: today.now().state.ok, "ok")


def test_f27_a_missing_right_is_named(tmp_path: Path) -> None:
    """403 says what the server said, and which verb on which resource is missing."""
    refusals = (refuse(403, "pods is forbidden: User x cannot list"),)
    with day(tmp_path, "a", lists=refusals, timing=QUICK._replace(forbidden=60.0)) as today:
        today.until(lambda: today.errors("forbidden") == 1, "refused")
        state = today.now().state

    assert not state.ok
    assert "User x cannot list" in state.detail
    assert "grant verb list" in state.detail


def test_f27_a_right_that_is_granted_is_used(tmp_path: Path) -> None:
    """Refused twice, then not: the source recovers by itself, and its detail is empty again."""
    with day(tmp_path, "a", lists=(refuse(403),) * 2) as today:
        today.until_names("a")

        assert today.errors("forbidden") == 2
        assert (today.now().state.ok, today.now().state.detail) == (True, "")


def test_f27_the_missing_right_to_watch_is_named(tmp_path: Path) -> None:
    """Listing is granted, watching is not: the pods are there and the cure names the other verb."""
    with day(tmp_path, "a", watches=(refuse(403, "no"),) * 1000, timing=QUICK._replace(forbidden=60.0)) as today:
        today.until_names("a")
        today.until(lambda: "grant verb watch" in today.now().state.detail, "named")

        assert not today.now().state.ok
        assert today.now().state.complete


@pytest.mark.parametrize(("code", "reason"), [(429, "throttled"), (503, "server")])
@pytest.mark.parametrize("watching", [False, True])
def test_f27_retry_after_is_honoured(tmp_path: Path, code: int, reason: str, watching: bool) -> None:
    """The server asks for a second: nothing is asked before it is over, whatever the own backoff says."""
    steps = (refuse(code, "later", Retry_After="1"),)
    with day(tmp_path, "a", lists=() if watching else steps, watches=steps if watching else ()) as today:
        today.until_names("a")
        today.until_watching(2 if watching else 1)
        refused, again = today.script.times(watching=watching)[:2]

        assert again - refused >= 1.0
        assert today.errors(reason) == 1


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2015 07:28:00 GMT", "-5", "1e9", "²", ""])
def test_f27_a_retry_after_that_is_no_number_of_seconds_is_not_followed(tmp_path: Path, value: str) -> None:
    """Odd values neither stop the source nor make it fail: the own backoff counts."""
    with day(tmp_path, "a", lists=(refuse(429, "later", Retry_After=value),)) as today:
        today.until_names("a")


@pytest.mark.parametrize("padding", [b"", b" " * 1_000_000], ids=["short", "long"])
@pytest.mark.parametrize(
    ("code", "reason"), [(500, "server"), (502, "server"), (504, "server"), (404, "status"), (302, "status")]
)
def test_f27_any_other_refusal_is_counted_and_retried(tmp_path: Path, code: int, reason: str, padding: bytes) -> None:
    """Errors with a body that is no Status object, as a load balancer sends them; redirects are not followed."""

    def page(exchange: Exchange) -> None:
        exchange.body(code, b"<html>bad gateway</html>" + padding, {"Location": "http://127.0.0.1:9/api/v1/pods"})

    with day(tmp_path, "a", lists=(page,), watches=(page,)) as today:
        today.until_names("a")
        today.until_watching(2)
        today.until(lambda: today.now().state.ok, "ok")

        assert today.now().state.errors == {reason: 2}
