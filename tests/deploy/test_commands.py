"""Every command that a document shows is run by a test as it is shown, or has a reason and a test doing the same."""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from plimsoll.cli import _parser
from plimsoll.config.schema import Config
from plimsoll.simulator import cast
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.workload import Workload
from plimsoll.status import DEFAULT_URL
from tests.deploy import commands
from tests.deploy.commands import REPOSITORY, command_lines, has_test, in_text, runs, shown
from tests.deploy.shell import Shell, Started
from tests.recorded import decided, recording
from tests.running import until

FILES = ("tests/deploy/test_commands.py", "tests/deploy/test_commands_cluster.py")
RUN = {text for file in FILES for text in runs(REPOSITORY / file)}
# Blocks that are no commands: the layers, and the definition of the ratio.
OTHER = {
    (
        "cli > simulator > daemon | status | retire > observer | actor > sources | policies | actuators | exporter"
        " > kernel > config > log | terminal > model"
    ),
    "ratio = (P + S') / P        over all low-priority pods the agent manages",
}


# Of kubectl, in running text: no whole commands.
BEGINNINGS = {"kubectl apply --filename", "kubectl describe pod", "kubectl logs"}
CONFIG = """
pressure: {interval: 1s}
preemption: {mode: enforce}
priority: {namespaces: {analytics: low}}
"""


class Elsewhere(NamedTuple):
    """A command that is not run as it is shown: the test that does what it does, and why."""

    test: str
    why: str


ELSEWHERE = {
    "make demo": Elsewhere("tests/unit/test_demo.py::test_it_runs_and_ends_by_itself", "it would set up .venv anew"),
    "make test": Elsewhere("tests/deploy/test_commands.py::test_every_command_is_run", "it is what runs this"),
    "kubectl --namespace plimsoll logs job/plimsoll-cleanup": Elsewhere(
        "tests/deploy/test_cleanup.py::test_a_clean_up_that_failed_leaves_its_job",
        "there is no kubelet to ask for a log; the Job that has it is there",
    ),
    "kubectl --namespace plimsoll exec daemonset/plimsoll -- plimsoll doctor": Elsewhere(
        "tests/deploy/test_installed.py::test_nothing_is_missed_inside",
        "there is no kubelet to run it; test_commands_cluster.py has kubectl find the pod",
    ),
}


def compared() -> tuple[set[str], set[str]]:
    """What is shown without being accounted for, and what is accounted for without being shown."""
    texts = {each.text for each in shown()}
    known = RUN | ELSEWHERE.keys() | OTHER
    return texts - known, known - texts - {each.text for each in in_text()}


def test_every_command_is_run():
    """None is shown that is not run or in the table, and the table has none that is not shown, or run all the same."""
    assert compared() == (set(), set())
    assert RUN & ELSEWHERE.keys() == set()
    assert [each.test for each in ELSEWHERE.values() if not has_test(each.test)] == []


@pytest.mark.parametrize(
    ("markdown", "found"),
    [
        ("    a b  # c\n", ["a b"]),
        ("```sh\na 'b # c' d#e\n\n# f\ng\n```\n", ["a 'b # c' d#e", "g"]),
        ("```\na \\\n  b\n```\n", ["a b"]),
        ("```yaml\na: b\n```\n", []),
        ("- item\n    of a list\n\ntext `a`\n\n    a | b && c\n", ["a | b && c"]),
    ],
)
def test_how_commands_are_found(markdown, found):
    """Fenced or indented, with continuations; no comment, no other language, no paragraph."""
    assert [text for _, text in command_lines(markdown)] == found


def test_a_new_command_would_be_noticed(tmp_path, monkeypatch):
    """In any page; and one that is gone, from the tests or from the table."""
    page = tmp_path / "page.md"
    page.write_text("    plimsoll frobnicate --now\n")
    monkeypatch.setattr(commands, "REPOSITORY", tmp_path)
    monkeypatch.setattr(commands, "PAGES", (page,))
    unknown, gone = compared()

    assert unknown == {"plimsoll frobnicate --now"}
    assert {"make demo", "plimsoll plan --replay day.jsonl.gz"} < gone
    assert not has_test("tests/deploy/test_commands.py::test_that_is_not_there")
    assert not has_test("tests/deploy/test_nowhere.py::test_every_command_is_run")


def test_what_make_runs():
    """The targets of the table lead to the programs that their tests run."""
    recipes = dict(re.findall(r"^([a-z0-9-]+):.*\n((?:\t.*\n)+)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))

    assert recipes["demo"] == "\t$(BIN)/plimsoll demo $(DEMO_ARGS)\n"
    assert '-m pytest \\\n\t  -m "not vm and not cluster and not bench"' in recipes["test"]
    assert recipes["test"].count(" tests\n") == 1


def test_commands_in_the_text_are_ones():
    """Between backquotes: targets, modules, verbs and options that there are. Values are not looked at."""
    targets = re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    (verbs,) = (each.choices for each in _parser()._actions if isinstance(each.choices, dict))
    found = in_text()

    assert len(found) > 40
    for each in found:
        program, *words = each.text.split()
        if program == "make":
            assert words[0] in targets, each
        elif program == "python":
            assert find_spec(words[1]) is not None, each
        elif program == "kubectl":
            assert each.text in RUN | BEGINNINGS, each
        else:
            options = {word.partition("=")[0].rstrip(",") for word in words if word.startswith("--")}
            assert words[0] in verbs, each
            assert options <= verbs[words[0]]._option_string_actions.keys(), each


class Stage:
    """A simulated node with an API server, and a shell beside them; ``node`` is named as this machine is."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        root, work = folder / "host", folder / "work"
        root.mkdir()
        work.mkdir()
        self.shell = Shell(work, work)
        self.node = SimulatedNode(str(root), Kind.STOCK_V2, Workload(cast.PODS), cast.NODE, name=platform.node())
        self.node.advance(1.0)
        for each in self.node.objects().values():
            server.put_pod(each)
        self.kubeconfig = server.write_kubeconfig(work / "kubeconfig")
        self.config = work / "plimsoll.yaml"
        # A policy that has something to do here.
        self.config.write_text(CONFIG)
        self.here = ("--root", root, "--config", self.config)

    def knobs(self) -> dict[str, str]:
        folder = Path(self.node.root) / "sys/fs/cgroup"
        return {str(path): path.read_text() for name in ("cpu.idle", "cpu.weight") for path in folder.rglob(name)}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    server = ApiServer()
    server.start()
    yield Stage(tmp_path, server)
    server.stop()


def address(agent: Started) -> str:
    """Where it listens."""
    until(lambda: "http-listening" in agent.text or agent.process.poll() is not None, "listening")
    found = re.search(r'"address": "(127\.0\.0\.1:\d+)".*"http-listening"', agent.text)
    assert found, agent.text
    return found[1]


def test_what_this_machine_can_do(tmp_path):
    """Whatever machine this is, as whoever this is."""
    shell = Shell(tmp_path, tmp_path)

    assert "cgroup" in shell.run(".venv/bin/plimsoll doctor")


def test_on_a_real_node(stage):
    """The README's life of an agent: runs, is looked at, killed, and what it has left is put back."""
    shell, here, before = stage.shell, stage.here, stage.knobs()
    assert Config().http.listen.endswith(":9470")
    with shell.start(
        ".venv/bin/plimsoll run --kubeconfig FILE --node-name NODE",
        (*here, "--listen", "127.0.0.1:0"),
        FILE=stage.kubeconfig,
        NODE=stage.node.name,
    ) as agent:
        url = f"http://{address(agent)}"
        until(lambda: stage.knobs() != before, "a low-priority pod to give way")
        with shell.start(".venv/bin/plimsoll status --watch", ("--url", url)) as watch:
            until(lambda: len(re.findall("postgres-0", watch.text)) >= 2, "the status, twice")
            assert watch.end(signal.SIGINT) == 0
        plan = shell.run(".venv/bin/plimsoll plan --kubeconfig FILE", here, FILE=stage.kubeconfig)
        assert "nothing was written" in plan
        assert re.search(r"^0 of [1-9]\d* knobs would change", plan, re.MULTILINE)
        agent.end(signal.SIGKILL)
    assert stage.knobs() != before
    assert "0 left" in shell.run(".venv/bin/plimsoll restore", here[:2])
    assert stage.knobs() == before
    assert "knobs put back" in shell.run(".venv/bin/plimsoll restore", (*here[:2], "--forget"))
    assert list(Path(stage.node.root).glob("run/plimsoll/*")) == []


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs Debian's curl package")
def test_what_an_agent_serves(stage):
    """At the address of the document in a configuration of its own; each path of the comment."""
    assert DEFAULT_URL.endswith(":9470")
    (line,) = (each for each in (REPOSITORY / "README.md").read_text().splitlines() if "curl localhost:9470" in each)
    (rest,) = re.findall(r"# also (.*)", line)
    shell = stage.shell
    with shell.start(
        ".venv/bin/plimsoll run --kubeconfig FILE --node-name NODE",
        (*stage.here, "--listen", "127.0.0.1:0"),
        FILE=stage.kubeconfig,
        NODE=stage.node.name,
    ) as agent:
        host = address(agent)
        quiet = ("--silent", "--show-error", "--fail", "--retry", "60", "--retry-delay", "1", "--noproxy", "*")
        paths = re.findall(r"(/[\w.]*)", rest)
        assert set(paths) == {"/", "/status.json", "/healthz", "/readyz"}
        for path in paths:
            assert shell.run("curl localhost:9470/metrics", quiet, **{"localhost:9470/metrics": f"{host}{path}"})
        # After /readyz, which curl asks again until it is: before the first look there are no metrics, and no error.
        assert "plimsoll_build_info" in shell.run("curl localhost:9470/metrics", quiet, **{"localhost:9470": host})
        assert agent.end(signal.SIGTERM) == 0


def test_record_and_replay(stage):
    """A day is recorded, told, and compared with itself; a moment likewise, and one that was recorded long ago."""
    shell, more = stage.shell, ("--kubeconfig", stage.kubeconfig, *stage.here)
    before = stage.knobs()
    with shell.start(
        "plimsoll run  --record day.jsonl.gz …", ("--listen", "127.0.0.1:0"), **{"…": " ".join(map(str, more))}
    ) as agent:
        address(agent)
        until(lambda: stage.knobs() != before, "a low-priority pod to give way")
        assert agent.end(signal.SIGTERM) == 0
    assert "nothing was written" in shell.run("plimsoll plan --record now.jsonl …", **{"…": " ".join(map(str, more))})
    assert os.path.getsize(shell.folder / "now.jsonl") > 1000
    assert "cpu.idle" in shell.run("plimsoll plan --replay day.jsonl.gz")
    shell.run("plimsoll plan --replay day.jsonl.gz --format json > expected.jsonl")
    assert "cpu.idle" in (shell.folder / "expected.jsonl").read_text()
    assert shell.run("plimsoll plan --replay day.jsonl.gz --format json | diff expected.jsonl -") == ""
    (shell.folder / "expected.jsonl").write_text("")
    assert shell.run("plimsoll plan --replay day.jsonl.gz --format json | diff expected.jsonl -", code=1)

    told = shell.run(".venv/bin/plimsoll plan --replay FILE", FILE=recording(Kind.STOCK_V2))
    assert told.count("\n") > len(list(decided(recording(Kind.STOCK_V2))))
