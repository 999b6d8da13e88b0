"""The guest's image as a fixture, made ahead of the tests' own deadlines; the console shown with a failing test."""

from __future__ import annotations

import pytest

from tests.ahead import made, make_ahead
from tests.debian import ImageError
from tests.reports import shown_when_failing
from tests.vm.image import Image, image
from tests.vm.machine import GuestError, Machine

# A GuestError carries the console itself.
pytest_runtest_makereport = shown_when_failing("guest", Machine, "guest", Machine.console, told_by=(GuestError,))


def pytest_collection_finish(session: pytest.Session) -> None:
    make_ahead(session, __file__, {"guest_image": image}, ImageError)


@pytest.fixture(scope="session")
def guest_image(request: pytest.FixtureRequest) -> Image:
    found: Image = made(request, "guest_image")
    return found
