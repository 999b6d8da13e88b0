"""What the tests of several modules read: the files of machines with Speed Select."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of each machine, made once (`tests.isst.rig` into a folder of their own): nothing changes them."""
    return tmp_path_factory.mktemp("machines")
