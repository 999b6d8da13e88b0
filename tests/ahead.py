"""
What takes minutes to make, made before the first test: it belongs to no test's deadline, and shall be seen going on.

For the conftest.py files, which say what is made for which fixture. Makes nothing itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

TRIES = 3
PAUSE_SECONDS = 15.0
_made = pytest.StashKey[dict[str, Any]]()


def make_ahead(
    session: pytest.Session,
    conftest: str,
    makers: Mapping[str, Callable[[], object]],
    failure: type[Exception] | tuple[type[Exception], ...],
) -> None:
    """
    Call the maker of every fixture that a collected test asks for, its output shown; for pytest_collection_finish.

    ``conftest``: the file that has these fixtures. Its hook is called for the whole session, but its fixtures are there
    for the tests below its folder only: elsewhere the same name is something else.
    Only the tests that need what could not be made shall fail for it: a ``failure`` is raised by :func:`made`.
    """
    if session.config.option.collectonly:
        return
    folder = Path(conftest).parent
    below = (item for item in session.items if item.path.is_relative_to(folder))
    wanted = {name for item in below for name in getattr(item, "fixturenames", ())}
    results = session.config.stash.setdefault(_made, {})
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        for fixture, maker in makers.items():
            if fixture in wanted:
                results[fixture] = _try(maker, failure)


def _try(maker: Callable[[], object], failure: type[Exception] | tuple[type[Exception], ...]) -> object:
    """What it makes, or its last failure: a mirror that hiccups is asked again, for what takes half an hour to use."""
    for attempt in range(1, TRIES + 1):
        try:
            return maker()
        except failure as error:
            if attempt == TRIES:
                return error
            print(f"[tests] try {attempt} of {TRIES}: {error}", file=sys.stderr, flush=True)
            time.sleep(PAUSE_SECONDS)
    raise AssertionError("not tried at all")


def made(request: pytest.FixtureRequest, fixture: str) -> Any:
    """What was made for this fixture."""
    found = request.config.stash[_made][fixture]
    if isinstance(found, Exception):
        raise found
    return found
