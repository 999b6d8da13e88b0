"""F21: resource versions that have become too old."""

from __future__ import annotations

from pathlib import Path

from plimsoll.simulator.exchange import Exchange, status_object
from tests.fault.kube_day import day, manifest


def expired_event(exchange: Exchange) -> None:
    exchange.stream()
    exchange.event("ERROR", status_object(410, "too old resource version: 1 (2)"))


def expired_status(exchange: Exchange) -> None:
    exchange.status(410, "too old resource version: 1 (2)")


def test_f21_expiry_inside_the_stream_lists_again_from_etcd(tmp_path: Path) -> None:
    """A 410 as ERROR event: one quorum list, no pod changes its identity, and the source never looks unhealthy."""
    with day(tmp_path, "a", "b", watches=(expired_event,)) as today:
        assert today.source.wait_complete(60)
        before = today.now().pods
        today.until_watching(2)
        today.until(lambda: today.now().state.ok, "ok")
        lists = today.script.asked(watching=False)
        after = today.now()

    assert [each.query.get("resourceVersion") for each in lists] == ["0", None]
    assert [id(pod) for pod in before] == [id(pod) for pod in after.pods]
    assert after.state.errors == {"expired": 1}


def test_f21_expiry_at_connect_lists_again_from_etcd(tmp_path: Path) -> None:
    """A 410 as HTTP status of the watch, and another as that of the list which follows: the third try succeeds."""
    with day(tmp_path, "a", lists=(None, expired_status), watches=(expired_status,)) as today:
        today.until_watching(2)
        today.server.put_pod(manifest("b"))
        today.until_names("a", "b")
        lists = today.script.asked(watching=False)

    assert [each.query.get("resourceVersion") for each in lists] == ["0", None, None]


def test_f21_a_compaction_during_an_outage_loses_nothing(tmp_path: Path) -> None:
    """While the server is away pods come and go and the history is compacted: the real protocol leads to a list."""
    with day(tmp_path, "a", "b") as today:
        today.until_names("a", "b")
        today.until_watching()
        today.server.stop()
        today.server.put_pod(manifest("c"))
        today.server.delete_pod("shop", "a")
        today.server.compact()
        assert today.names() == {"a", "b"}
        today.server.start()
        today.until_names("b", "c")

        assert today.errors("expired") == 1
        assert len(today.script.asked(watching=False)) == 2


def test_f21_a_version_from_the_future_is_cured_by_etcd(tmp_path: Path) -> None:
    """A restore from a backup turns versions back: the list at the known one gets 504, the next one asks etcd."""

    def garbage(exchange: Exchange) -> None:
        exchange.stream()
        exchange.raw(b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"999999"}}}\n')
        exchange.raw(b"garbage\n")

    with day(tmp_path, "a", watches=(garbage,)) as today:
        today.until_watching(2)
        today.server.put_pod(manifest("b"))
        today.until_names("a", "b")
        lists = today.script.asked(watching=False)

    assert [each.query.get("resourceVersion") for each in lists] == ["0", "999999", None]
