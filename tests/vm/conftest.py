"""The guest's image as a fixture, made ahead of the tests' own deadlines; the console shown with a failing test."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import nullcontext

import pytest

from tests.vm.image import Image, ImageError, image
from tests.vm.machine import GuestError, Machine

_image = pytest.StashKey[Image | ImageError]()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Makes the image before the first test: minutes of it belong to no test's deadline, and shall be seen going on."""
    if session.config.option.collectonly:
        return
    if not any("guest_image" in getattr(item, "fixturenames", ()) for item in session.items):
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        try:
            session.config.stash[_image] = image()
        except ImageError as error:
            # Only the tests that need a guest shall fail for it: the fixture raises it.
            session.config.stash[_image] = error


@pytest.fixture(scope="session")
def guest_image(request: pytest.FixtureRequest) -> Image:
    made = request.config.stash[_image]
    if isinstance(made, ImageError):
        raise made
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    guest = getattr(item, "funcargs", {}).get("guest")
    # A GuestError carries the console itself.
    if report.failed and isinstance(guest, Machine) and not (call.excinfo and call.excinfo.errisinstance(GuestError)):
        report.sections.append(("guest", guest.console()))
    return report
