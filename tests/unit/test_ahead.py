"""The shared parts of the conftest.py files: what is made ahead of the tests, and what a failing one shows."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from tests import ahead
from tests.ahead import made, make_ahead
from tests.reports import shown_when_failing

class Machine:
    def console(self):
        return "its last words"

class Said(RuntimeError):
    pass

class Unmade(RuntimeError):
    pass

ahead.PAUSE_SECONDS = 0
mishaps = [Unmade("the wind is against it")] * (ahead.TRIES - 1)

def launched():
    if mishaps:
        raise mishaps.pop()
    return "a ship"

def unmade():
    print("asked for paper")
    raise Unmade("no paper here")

def pytest_collection_finish(session):
    make_ahead(session, __file__, {"ship": launched, "paper": unmade, "unwanted": lambda: 1 / 0}, Unmade)

@pytest.fixture
def ship(request):
    return made(request, "ship")

@pytest.fixture
def paper(request):
    return made(request, "paper")

@pytest.fixture
def unwanted(request):
    return made(request, "unwanted")

@pytest.fixture
def guest():
    return Machine()

pytest_runtest_makereport = shown_when_failing("guest", Machine, "guest", Machine.console, told_by=(Said,))
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs a test module below that conftest.py, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    pytester.makeconftest(CONFTEST)

    def run(text: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:randomly", *arguments)

    return run


def test_makes_what_is_asked_for_and_nothing_else(run) -> None:
    """
    A maker runs for a fixture that a test names, with its output shown, again if it failed; the one that nobody names
    would fail.
    """
    result = run("def test_a(ship): assert ship == 'a ship'\ndef test_b(paper): pass\ndef test_c(): pass")

    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["asked for paper", "*Unmade: no paper here*"])


def test_a_maker_that_breaks_is_not_hidden(run) -> None:
    """Only what a maker is known to raise waits for the test; anything else ends the session."""
    result = run("def test_a(unwanted): pass")

    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])


def test_makes_nothing_for_a_name_that_is_another_fixture_elsewhere(run, pytester: pytest.Pytester) -> None:
    """A conftest's fixtures are those of the tests below it: beside it, the same name costs no minutes."""
    below = pytester.mkdir("below")
    Path("conftest.py").rename(below / "conftest.py")
    (below / "test_below.py").write_text("def test_a(ship): assert ship == 'a ship'\n", encoding="utf-8")
    result = run("""
import pytest

@pytest.fixture
def unwanted():
    return 1

def test_b(unwanted):
    assert unwanted == 1
""")

    result.assert_outcomes(passed=2)


def test_makes_nothing_to_list_the_tests(run) -> None:
    """Collecting takes no minutes."""
    result = run("def test_a(unwanted): pass", "--collect-only")

    assert result.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("assert False", True),
        ("assert guest", False),
        ("from conftest import Said; raise Said('it said so')", False),
    ],
)
def test_a_failing_test_shows_what_it_used(run, body: str, shown: bool) -> None:
    """The text comes with a failure, not with success, nor with an exception that has it already."""
    result = run(f"def test_a(guest): {body}", "-rA")

    assert ("its last words" in result.stdout.str()) is shown


def test_a_failing_test_shows_nothing_that_it_did_not_use(run) -> None:
    """Another fixture's test, and one whose fixture of that name is something else."""
    result = run("""
import pytest

def test_a(ship):
    assert False

@pytest.fixture
def guest():
    return 1

def test_b(guest):
    assert False
""")

    result.assert_outcomes(failed=2)
    assert "its last words" not in result.stdout.str()
