"""Where the tests keep what takes long to build."""

from __future__ import annotations

import os
from pathlib import Path


def cache() -> Path:
    """The cache folder: $PLIMSOLL_CACHE, or .cache/plimsoll in the home folder."""
    configured = os.environ.get("PLIMSOLL_CACHE")
    return Path(configured) if configured else Path.home() / ".cache" / "plimsoll"
