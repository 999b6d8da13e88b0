"""The page of metrics: equal to what prometheus-client would write, capped, and of what is there now only."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from plimsoll.config.schema import PressureSection
from plimsoll.exporter.exposition import Family, Series, metrics, render
from plimsoll.exporter.families import FAMILIES
from plimsoll.exporter.metrics import Exporter
from plimsoll.exporter.tls import TlsState
from plimsoll.model.announcing import Announcing, Channel
from plimsoll.model.pod import Priority
from plimsoll.model.pressure import Source
from plimsoll.model.publishing import Publishing
from plimsoll.model.snapshot import CgroupState, PodSample
from tests.fixtures.snapshots import (
    BAD_SOURCES,
    FACTS,
    busy,
    evicting,
    grouped,
    overcommitted,
    pod,
    pod_sample,
    pressures,
    snapshot,
    trouble,
)


class _Fixed:
    def __init__(self, families):
        self._families = families

    def collect(self):
        return metrics(self._families)


def page(exporter: Exporter, *pods: PodSample) -> str:
    exporter.observe(snapshot(pods), FACTS)
    return exporter.text().decode()


def names(text: str) -> list[str]:
    """The series of pods on a page, without their values."""
    return [line.rpartition(" ")[0] for line in text.splitlines() if line.startswith("plimsoll_pod_")]


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), unique=True, max_size=5), st.text(max_size=40))
def test_our_text_is_the_librarys(labels, help_text):
    """Escaping of hostile label values and help texts is prometheus-client's own."""
    if not all(text.isprintable() or "\n" in text for pair in labels for text in pair):
        labels = []
    family = Family("plimsoll_test", "gauge", help_text, ("a", "b"))
    families = [(family, [Series(family, pair, 1.5) for pair in labels])]

    assert render(families) == generate_latest(_Fixed(families)) or not labels


def test_the_whole_page_is_the_librarys():
    """Every family of a full snapshot, value by value, as prometheus-client would write it."""
    exporter = Exporter(PressureSection.model_validate({"windows": ["10s", "60s", "300s"], "containers": True}))
    tls = TlsState(ok=True, loaded_unix=1_795_507_200.5)
    exporter.observe(busy(20, tick=1), FACTS)
    told = Announcing(frozenset({Channel.EVENT}), "", {Channel.EVENT: 3}, {(Channel.EVENT, "forbidden"): 1}, 2, 4)
    published = Publishing(2 << 30, 1 << 30, known=True, sent=2, failed={"forbidden": 1})
    facts = replace(FACTS, audit_lines_lost=2, announcing=told, publishing=published)
    seen, acting = grouped(*overcommitted(busy(20, tick=2, sources=BAD_SOURCES), trouble()))
    families = list(exporter.families(seen, facts, tls, evicting(acting)))

    ours = _values(render(families).decode())
    library = _values(generate_latest(_Fixed(families)).decode())

    assert ours == library
    assert len(ours) > 1000
    assert {family for family, samples in families if samples} == set(FAMILIES)
    assert [family for family, _ in families] == list(FAMILIES)


def _values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    # The library writes labels in alphabetical order, we in the family's: compared as sets.
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_kept_series_follow_their_values():
    """What is kept from tick to tick is never an old figure: a kept exporter's page is a fresh one's, tick by tick."""
    kept = Exporter(PressureSection())
    for tick in (1, 2, 2, 9):
        fresh = Exporter(PressureSection())
        ours, theirs = (
            render(each.families(busy(15, tick, BAD_SOURCES if tick == 2 else ()), FACTS)) for each in (kept, fresh)
        )
        assert ours == theirs


def test_a_pod_that_changes_its_priority_changes_its_labels():
    """Also its state and the source of a cause: no series of before is left."""
    exporter = Exporter(PressureSection())
    before = PodSample(pod(1), CgroupState.PENDING, pressures=pressures(1.0))
    cause = pressures(1.0)[0]
    page(exporter, before)

    text = page(
        exporter,
        PodSample(pod(1, priority=Priority.LOW), CgroupState.FOUND, pressures=(cause._replace(source=Source.DERIVED),)),
    )

    assert {re.search('priority="([a-z]+)"', name)[1] for name in names(text)} == {"low"}
    assert 'state="found"' in text
    assert 'state="pending"' not in text
    assert {re.search('source="([a-z.]+)"', name)[1] for name in names(text) if "source" in name} == {"derived"}


def test_a_pod_made_again_under_its_name_keeps_no_old_uid():
    """A StatefulSet's pod: same name, another UID; while both are there, one of them is on the page."""
    exporter = Exporter(PressureSection())
    old, new = (PodSample(pod(number, name="db-0"), CgroupState.FOUND) for number in (1, 2))
    page(exporter, old)

    assert len(names(page(exporter, old, new))) == 1
    assert pod(2).uid in page(exporter, new)
    assert pod(1).uid not in page(exporter, new)


@given(st.integers(0, 2**63 - 1), st.sampled_from([4, 6]))
def test_decimals_are_exact(value, decimals):
    """No float on the way: 292,000 years of microseconds come out whole, and shares above 100 % too."""
    family = Family("plimsoll_test", "gauge", "x", (), decimals)
    whole, part = render([(family, [Series(family, (), value)])]).decode().split()[-1].split(".")

    assert int(whole) * 10**decimals + int(part) == value
    assert len(part) == decimals
    assert whole == str(int(whole))


@pytest.mark.parametrize(("value", "text"), [(1, "1"), (0.1, "0.1"), (1e22, "1e+22"), (123456789012, "123456789012")])
def test_numbers_are_spelled_shortly_and_exactly(value, text):
    """Whole numbers without a point, floats as Python reads them back."""
    family = Family("plimsoll_test", "gauge", "x")

    assert render([(family, [Series(family, (), value)])]).decode().splitlines()[-1] == f"plimsoll_test {text}"


def test_the_cap_drops_the_same_series_every_time_and_says_so():
    """F32: never more than maxSeries, counted, stable from tick to tick; identity and totals outlive the ratios."""
    exporter = Exporter(PressureSection.model_validate({"maxSeries": 100}))
    pods = tuple(pod_sample(number) for number in range(30))
    first = page(exporter, *pods)
    whole = len(names(page(Exporter(PressureSection()), *pods)))

    assert len(names(first)) == 100
    assert f"plimsoll_series_dropped {whole - 100}" in first.splitlines()
    assert "plimsoll_pod_pressure_ratio" not in first
    assert names(first) == names(page(exporter, *reversed(pods)))


def test_a_pod_that_is_gone_is_gone_from_the_next_page():
    """F31: nothing is remembered of it."""
    exporter = Exporter(PressureSection())
    page(exporter, pod_sample(1), pod_sample(2))
    text = page(exporter, pod_sample(1))

    assert pod(2).uid not in text
    assert set(exporter._pods._entries) == {pod(1).uid}


def test_a_container_that_is_gone_is_forgotten():
    """Ephemeral containers come and go within one pod."""
    exporter = Exporter(PressureSection())
    busy_pod = busy(3).pods[-1]
    assert 'container="main"' in page(exporter, busy_pod)

    assert "plimsoll_container_" not in page(exporter, replace(busy_pod, containers=()))
    assert exporter._pods._entries[busy_pod.pod.uid].containers == {}


def test_the_administrator_chooses_causes_windows_and_derived_figures():
    """From the next page on, whatever was kept before."""
    exporter = Exporter(PressureSection())
    pods = busy(20).pods
    page(exporter, *pods)
    exporter.reconfigure(
        PressureSection.model_validate({"causes": ["sw*", "cpu_cfs*"], "windows": ["300s"], "derived": False})
    )

    text = page(exporter, *pods)

    assert set(re.findall('cause="([a-z_]+)"', text)) == {"swap", "cpu_cfs_bandwidth"}
    assert set(re.findall('window="([0-9s]+)"', text)) == {"300s"}
    assert 'source="derived"' not in text


def test_text_no_encoding_can_write_does_not_cost_the_page():
    """JSON can carry half a surrogate pair; the page has a question mark there."""
    text = page(Exporter(PressureSection()), PodSample(pod(1, origin="\ud800"), CgroupState.FOUND))

    assert 'origin="?"' in text
