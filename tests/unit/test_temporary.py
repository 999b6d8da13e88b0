"""Whether the tests' temporary folders may lie in a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import temporary


def test_a_folder_that_is_not_there_does_not_fit(tmp_path: Path) -> None:
    """As on a system that is not Linux."""
    assert not temporary.fits(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("flags", "free", "fitting"),
    [(0, temporary.ENOUGH_BYTES, True), (os.ST_NOEXEC, temporary.ENOUGH_BYTES, False), (0, 64 << 20, False)],
)
def test_what_a_file_system_must_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: int, free: int, fitting: bool
) -> None:
    """Room, and programs that can be run; Docker's has neither unless it is told to."""
    found = os.statvfs_result((4096, 4096, 0, 0, free // 4096, 0, 0, 0, flags, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    assert temporary.fits(str(tmp_path)) is fitting
