"""The control plane as a fixture, built ahead of the tests' own deadlines, its logs shown with a failing test."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.build import COMPONENTS, BuildError, build
from tests.cluster.control_plane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_build_error = pytest.StashKey[BuildError]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cluster: needs Go; runs a real kube-apiserver and etcd on the loopback")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Builds before the first test: minutes of compiling belong to no test's deadline, and shall be seen going on."""
    if session.config.option.collectonly:
        return
    if not any("control_plane" in getattr(item, "fixturenames", ()) for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        try:
            for component in COMPONENTS:
                build(component)
        except BuildError as error:
            # Only the tests that need the programs shall fail for it: the fixture raises it.
            session.config.stash[_build_error] = error


@pytest.fixture(scope="module")
def control_plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One control plane for a module's tests, which keep apart by the names of their nodes and pods."""
    error = request.config.stash.get(_build_error, None)
    if error is not None:
        raise error
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as cluster:
        yield cluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    arguments: dict[str, Any] = getattr(item, "funcargs", {})
    cluster = arguments.get("control_plane")
    if report.failed and isinstance(cluster, ControlPlane):
        report.sections.append(("control plane", cluster.logs()))
    return report
