"""What the tests of several modules use: the files of machines with Speed Select, an API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll.simulator.apiserver import ApiServer


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of each machine, made once (`tests.isst.rig` into a folder of their own): nothing changes them."""
    return tmp_path_factory.mktemp("machines")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """The simulated API server, started, with nothing in it."""
    server = ApiServer()
    server.start()
    yield server
    server.stop()
