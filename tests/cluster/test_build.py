"""What stands between a developer and the programs is said clearly, and the cache is safe. Nothing is compiled here."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.cluster import build as under_test
from tests.cluster.build import BuildError, build, version

if TYPE_CHECKING:
    from multiprocessing.queues import Queue
    from pathlib import Path

# Stands in for Go: tells its version; "builds" by writing the output file slowly enough for two builds to meet.
GO = """#!/bin/sh
case "$1" in
env) echo '{{"GOVERSION": "{version}", "GOOS": "linux", "GOARCH": "amd64"}}' ;;
build)
  echo "$@" >> "{log}"
  while [ "$1" != -o ]; do shift; done
  echo half > "$2"
  {extra}
  echo whole > "$2"
  ;;
esac
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PLIMSOLL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fake_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, go_version: str = "go1.99.1", extra: str = "true"
) -> Path:
    """Puts a stand-in for Go first in PATH; the file that gets a line for each of its builds."""
    folder, log = tmp_path / "go-bin", tmp_path / "builds"
    folder.mkdir()
    go = folder / "go"
    go.write_text(GO.format(version=go_version, log=log, extra=extra))
    go.chmod(go.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


@pytest.mark.usefixtures("cache")
def test_without_go_says_which_one_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BuildError, match=r"no Go in PATH.* needs Go 1\.\d+.*Install Go 1\.\d+"):
        build("etcd")


@pytest.mark.usefixtures("cache")
def test_with_an_old_go_says_which_one_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_go(tmp_path, monkeypatch, go_version="go1.20.14")

    with pytest.raises(BuildError, match=r"needs Go 1\.\d+.*this is go1\.20\.14\. Install Go"):
        build("etcd")


def test_unknown_component_names_the_known_ones() -> None:
    with pytest.raises(BuildError, match=r"'kubelte'.*etcd.*kube-apiserver"):
        build("kubelte")


def test_builds_once_per_state_of_the_module(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = fake_go(tmp_path, monkeypatch)

    first, second = build("etcd"), build("etcd")

    assert first == second
    assert first.is_relative_to(cache / "bin")
    assert len(log.read_text().splitlines()) == 1
    module = tmp_path / "module"
    module.mkdir()
    for name in ("go.mod", "go.sum"):
        (module / name).write_bytes((under_test.MODULE / name).read_bytes())
    (module / "go.sum").write_bytes((module / "go.sum").read_bytes() + b"\n")
    monkeypatch.setattr(under_test, "MODULE", module)
    assert build("etcd") != first


@pytest.mark.usefixtures("cache")
def test_kubernetes_programs_carry_their_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = fake_go(tmp_path, monkeypatch)

    build("kube-apiserver")

    assert f"version.gitVersion={version('kube-apiserver')}" in log.read_text()


def test_failed_build_shows_the_reason_and_leaves_no_program(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_go(tmp_path, monkeypatch, extra="echo 'no such package' >&2; exit 1")

    with pytest.raises(BuildError, match="no such package"):
        build("etcd")
    assert list(cache.rglob("etcd")) == []


def _build_and_report(answers: Queue[str]) -> None:
    answers.put(hashlib.sha256(build("etcd").read_bytes()).hexdigest())


@pytest.mark.usefixtures("cache")
def test_two_builds_at_once_make_one_whole_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The build ends only when both processes are there, so that they do meet.
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    log = fake_go(tmp_path, monkeypatch, extra=f'read -r _ < "{gate}"')
    spawn = multiprocessing.get_context("spawn")
    answers: Queue[str] = spawn.Queue()
    builders = [spawn.Process(target=_build_and_report, args=(answers,)) for _ in range(2)]
    for builder in builders:
        builder.start()
    with gate.open("w") as opened:  # blocks until a build reads
        opened.write("go on\n")
    results = {answers.get(timeout=60) for _ in builders}
    for builder in builders:
        builder.join()
        builder.close()
    answers.close()
    answers.join_thread()

    assert results == {hashlib.sha256(b"whole\n").hexdigest()}
    assert len(log.read_text().splitlines()) == 1
