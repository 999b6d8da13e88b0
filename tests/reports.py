"""What a failing test's report shows besides its own: the log of what it used."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TypeVar

import pytest

Used = TypeVar("Used")
Hook = Callable[[pytest.Item, "pytest.CallInfo[None]"], Generator[None, pytest.TestReport, pytest.TestReport]]


def shown_when_failing(
    fixture: str,
    kind: type[Used],
    title: str,
    text: Callable[[Used], str],
    *,
    told_by: tuple[type[BaseException], ...] = (),
) -> Hook:
    """
    A hook to be named ``pytest_runtest_makereport`` in a conftest.py: adds the ``text`` of what ``fixture`` gave.

    ``told_by``: exceptions that carry the text themselves.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        used = getattr(item, "funcargs", {}).get(fixture)
        told = call.excinfo is not None and call.excinfo.errisinstance(told_by)
        if report.failed and isinstance(used, kind) and not told:
            report.sections.append((title, text(used)))
        return report

    return pytest_runtest_makereport
