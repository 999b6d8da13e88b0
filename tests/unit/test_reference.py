"""The documentation says what the code says."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from plimsoll.config.schema import Config
from plimsoll.exporter import eviction_series, families, frequency_series, overcommit_series
from plimsoll.exporter.exposition import Family
from tests.reference import DOCS, PAGES, configuration, in_step


@pytest.mark.parametrize("name", PAGES)
def test_the_generated_parts_are_in_step(name):
    """`python -m tests.reference` writes them."""
    text = (DOCS / name).read_text()

    assert text == in_step(text, PAGES[name]())


def test_every_family_is_in_the_list():
    """A family that is defined and not listed would be missing in the documentation."""
    modules = (families, overcommit_series, frequency_series, eviction_series)
    defined = {each for module in modules for each in vars(module).values() if isinstance(each, Family)}
    assert set(families.FAMILIES) == defined
    assert len({each.name for each in families.FAMILIES}) == len(families.FAMILIES)


def test_every_key_of_the_configuration_is_described():
    """Each with a sentence of its own, under the heading of its section."""
    made = configuration()
    for section, values in Config().model_dump(by_alias=True).items():
        assert f"## `{section}`" in made
        for key in values:
            assert f"`{key}`" in made or f"`{section}.{key}`" in made
    rows = [line for line in made.splitlines() if line.startswith("| `")]
    assert all(line.rstrip("| ").endswith(".") for line in rows)
    assert "| `clientCAFile` | text | none |" in made


def test_the_librarys_own_metrics_are_named():
    """`process_*` come from prometheus-client: the page names what it gives on this system."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    text = (DOCS / "metrics.md").read_text()

    for family in registry.collect():
        assert f"`{family.name}{'_total' if family.type == 'counter' else ''}`" in text


def test_a_page_without_marks_is_refused():
    """Nothing is written over a page that was not made for it."""
    with pytest.raises(ValueError, match="has no"):
        in_step("# A page\n", "x")
