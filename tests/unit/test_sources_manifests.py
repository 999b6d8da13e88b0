"""Pods from a folder of manifests while somebody else changes the folder."""

from __future__ import annotations

import os

import pytest

from plimsoll.config.schema import PrioritySection
from plimsoll.sources.manifests import ManifestPods
from tests.support import manifest


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2):
        (tmp_path / f"{number}.yaml").write_text(manifest(number, f"web-{number}"))
    return tmp_path


def observed(source):
    found = source.observe(PrioritySection())
    return [each.name for each in found.pods], found.state.ok, dict(found.state.errors)


@pytest.mark.parametrize("known", [False, True])
def test_a_file_that_is_removed_while_the_folder_is_read_is_no_error(folder, monkeypatch, known):
    """Whether or not its pods were known: they are gone, as in a listing a moment later."""
    source = ManifestPods(str(folder), clock=lambda: 0.0)
    if known:
        assert observed(source) == (["web-1", "web-2"], True, {})
    listed = os.listdir

    def then_removed(path):
        names = listed(path)
        (folder / "2.yaml").unlink(missing_ok=True)
        return names

    monkeypatch.setattr(os, "listdir", then_removed)

    assert observed(source) == (["web-1"], True, {})


def test_a_link_that_leads_nowhere_is_told(folder):
    """It is there, and somebody meant something by it."""
    (folder / "3.yaml").symlink_to(folder / "moved.yaml")
    source = ManifestPods(str(folder), clock=lambda: 0.0)

    assert observed(source) == (["web-1", "web-2"], False, {"file": 1})


def test_a_file_that_is_being_written_in_its_place_is_no_deletion(folder):
    """Found empty once, its pods stay; found empty again, they are gone."""
    source = ManifestPods(str(folder), clock=lambda: 0.0)
    assert observed(source)[0] == ["web-1", "web-2"]
    (folder / "2.yaml").write_text("")

    assert observed(source) == (["web-1", "web-2"], True, {})
    (folder / "2.yaml").write_text(manifest(3, "web-3"))
    assert observed(source)[0] == ["web-1", "web-3"]
    (folder / "2.yaml").write_text("")
    assert observed(source)[0] == ["web-1", "web-3"]
    assert observed(source) == (["web-1"], True, {})
