"""Helm, the control plane and the image as fixtures, made ahead of the tests' own deadlines."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import nullcontext

import pytest

from tests.cluster.build import COMPONENTS, BuildError, build
from tests.cluster.control_plane import ControlPlane
from tests.deploy.image import ImageError, image
from tests.deploy.node import Node, installed

_made = pytest.StashKey[dict[str, str | Exception]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Makes what is needed before the first test: minutes of it belong to no test's deadline."""
    if session.config.option.collectonly:
        return
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    made = session.config.stash.setdefault(_made, {})
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        # Only the tests that need one shall fail for it: its fixture raises the error.
        components = {"helm": ["helm"], "cluster": list(COMPONENTS)}
        for name in sorted(wanted & set(components)):
            try:
                made[name] = str([build(each) for each in components[name]])
            except BuildError as error:
                made[name] = error
        if "agent_image" in wanted:
            try:
                made["agent_image"] = image()
            except ImageError as error:
                made["agent_image"] = error


def _get(request: pytest.FixtureRequest, name: str) -> str:
    found = request.config.stash[_made][name]
    if isinstance(found, Exception):
        raise found
    return found


@pytest.fixture(scope="session")
def helm(request: pytest.FixtureRequest) -> None:
    """Helm is there: see helm.py."""
    _get(request, "helm")


@pytest.fixture(scope="session")
def agent_image(request: pytest.FixtureRequest) -> str:
    """The identity of the agent's image."""
    return _get(request, "agent_image")


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server of a module's own."""
    _get(request, "cluster")
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="module")
def node(agent_image: str, cluster: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The chart installed, and its agent running here."""
    with installed(agent_image, cluster, tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    running = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and isinstance(running, ControlPlane):
        report.sections.append(("control plane", running.logs()))
    return report
