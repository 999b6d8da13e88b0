"""What holds for every test."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.deadline import postponed


# Before pytest-xdist looks at the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    What ``--dist loadgroup`` runs beside each other: a guest is one file's own, containers are the whole machine's.

    What takes longest comes first.
    """
    for item in items:
        path = Path(item.path)
        item.add_marker(pytest.mark.xdist_group(path.stem if path.parent.name == "vm" else path.parent.name))
    items.sort(key=lambda item: Path(item.path).parent.name != "kubelet")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_timeout_set_timer() -> Generator[None, object, object]:
    """Of pytest-timeout."""
    done = yield
    handler = signal.getsignal(signal.SIGALRM)
    if callable(handler):
        signal.signal(signal.SIGALRM, postponed(handler))
    return done
