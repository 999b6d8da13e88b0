"""The control plane as a fixture, built ahead of the tests' own deadlines, its logs shown with a failing test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ahead import made, make_ahead
from tests.cluster.build import BuildError, build_each
from tests.cluster.control_plane import PROGRAMS, ControlPlane
from tests.reports import shown_when_failing

pytest_runtest_makereport = shown_when_failing("control_plane", ControlPlane, "control plane", ControlPlane.logs)


def pytest_collection_finish(session: pytest.Session) -> None:
    make_ahead(session, __file__, {"control_plane": lambda: build_each(*PROGRAMS)}, BuildError)


@pytest.fixture(scope="module")
def control_plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One control plane for a module's tests, which keep apart by the names of their nodes and pods."""
    made(request, "control_plane")
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as cluster:
        yield cluster
