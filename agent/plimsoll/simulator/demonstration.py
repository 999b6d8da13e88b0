"""
The story of ``plimsoll demo``: low-priority pods give way, the agent is killed, another one takes over and ends.

What is shown of the node comes from the agent over HTTP, what agents leave behind from the node's files.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plimsoll.simulator import cast
from plimsoll.simulator.aftermath import estate, verdict
from plimsoll.simulator.agent_process import AgentProcess
from plimsoll.simulator.apiserver import ApiServer
from plimsoll.simulator.knob_files import KnobFiles
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.stage import Stage
from plimsoll.simulator.workload import Workload
from plimsoll.status import Unanswered, fetch

# The scenes' shares of the time: low-priority pods give way; no agent runs, but not for long; another one takes over.
_FIRST_SHARE, _DEAD_SHARE = 0.6, 0.1
_DEAD_SECONDS = 5.0
# The kernel's totals are up to date whenever they are read; these are as old as one step at most.
_STEP_SECONDS = 0.1
_ASK_SECONDS = 0.5
# How long the first answer of an agent may take: a cold start on a slow machine.
_START_SECONDS = 60.0
_FETCH_SECONDS = 5.0
# An agent that has no pods by then is worth looking at as it is.
_PATIENT_SECONDS = 15.0
# If this process is killed, the agent ends by itself so much later.
_GRACE_SECONDS = 60.0
_STATE_DIRECTORY = "run/plimsoll"


class Failed(Exception):  # noqa: N818 - says what became of the demonstration
    """It cannot go on, or did not come out as it must; ``details`` may be a stranger's."""

    def __init__(self, what: str, details: Sequence[str]) -> None:
        self.details = details
        super().__init__(what)


class Demonstration:
    """
    One demonstration in an empty folder, until ``seconds`` are over or ``stop`` is set.

    Without ``seconds`` nothing is killed: the first agent is watched until ``stop``. ``listen`` is the agents' address,
    or another port of that host where somebody has this one.
    """

    def __init__(
        self,
        folder: str,
        kind: Kind,
        *,
        seconds: float | None,
        listen: str,
        seed: int,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._seconds = seconds
        self._listen = listen
        self._stop = stop
        self._clock = clock
        root = os.path.join(folder, "node")
        os.mkdir(root)
        # Of the two kernels the one that can be asked to reclaim, and keep a pod from swapping.
        self._swaps = kind is Kind.STOCK_V2
        workload = Workload((*cast.PODS, *cast.HOARDERS) if self._swaps else cast.PODS, seed=seed)
        capacity = cast.SWAP_NODE if self._swaps else cast.NODE
        self._node = SimulatedNode(
            root, kind, workload, capacity, name=cast.NODE_NAME, seed=seed, frequencies=True, swap_file=self._swaps
        )
        self._files = KnobFiles(root)
        self._api = ApiServer()
        self._known: dict[tuple[str, str], dict[str, object]] = {}
        self._born = clock()
        self._agents = 0
        self._adopted: str | None = None
        self.last: Mapping[str, Any] | None = None
        """What an agent said last."""
        self.told: list[str] = []
        """What has happened, for a person."""

    def run(self, stage: Stage) -> None:
        """Play it. Raises Failed."""
        self._api.start()
        try:
            self._follow()
            self._play(stage)
        finally:
            self._api.stop()

    def _play(self, stage: Stage) -> None:
        with self._agent() as agent:
            if self._seconds is None:
                self._watch(agent, stage, None, "")
            else:
                self._watch(agent, stage, self._seconds * _FIRST_SHARE, "SIGKILL in", self._files.changed)
            if self._seconds is None or self._stop.is_set():
                self._end(agent)
                return
            agent.kill()
            left = self._mourn(agent, stage, min(_DEAD_SECONDS, self._seconds * _DEAD_SHARE))
        if self._stop.is_set():
            self.told.append(f"Stopped while no agent ran: {left} files hold what it wrote.")
            return
        with self._agent() as agent:
            rest = self._seconds * (1 - _FIRST_SHARE - _DEAD_SHARE)
            self._watch(agent, stage, rest, "SIGTERM in", lambda: self._adopted)
            self.told.append(f"Another agent, process {agent.pid}, {self._adopted or 'was not asked what it found'}.")
            self._end(agent)

    def _watch(
        self,
        agent: AgentProcess,
        stage: Stage,
        seconds: float | None,
        next_: str,
        due: Callable[[], object] = bool,
    ) -> None:
        """
        Keep the node alive and show what the agent says of it, for ``seconds`` from its first answer.

        Then on until it is ``due`` to end: the story cannot go on without what has to come about. Raises Failed.
        """
        started = ask = self._clock()
        end: float | None = None
        first = True
        stage.scene()
        while not self._stop.wait(_STEP_SECONDS):
            self._live()
            if agent.ended() is not None:
                raise Failed(f"the agent ended by itself with exit code {agent.ended()}; its last words:", agent.tail())
            now = self._clock()
            answer = self._ask(agent, patient=now - started < _PATIENT_SECONDS) if now >= ask else None
            if answer is not None:
                ask = now + _ASK_SECONDS
                if first:
                    # The time shown counts from here: a slow start does not shorten it.
                    first, started = False, self._clock()
                    end = None if seconds is None else started + seconds
                self.last = answer
                # It is told among the last changes, which others push out.
                self._adopted = _adoption(answer) or self._adopted
                left = "until Ctrl-C"
                if end is not None:
                    left = f"{next_} {max(0.0, end - self._clock()):.0f} s, Ctrl-C ends it"
                stage.show(self._heading(agent, left), answer)
                if end is not None and self._clock() >= end and due():
                    return
            late = self._clock() - (started if end is None else end)
            if (first or end is not None) and late > _START_SECONDS:
                what = "did not answer" if first else "did not do what it is here for"
                raise Failed(f"the agent {what} within {_START_SECONDS:g} s; its last words:", agent.tail())

    def _mourn(self, agent: AgentProcess, stage: Stage, seconds: float) -> int:
        """Show for ``seconds`` what a killed agent has left; in how many files."""
        left = estate(self._node.root, _STATE_DIRECTORY, self._files)
        told = [f"SIGKILL to process {agent.pid}: the agent is dead and could put nothing back.", *left.lines()]
        if not left.whole:
            raise Failed("the journal does not hold what a successor would need", told)
        self.told += told
        stage.scene()
        stage.show([f"SIMULATED node ({self._kind}); no agent runs", "", *told, "Another agent starts."])
        end = self._clock() + seconds
        while self._clock() < end and not self._stop.wait(_STEP_SECONDS):
            self._live()
        return len(left.changed)

    def _end(self, agent: AgentProcess) -> None:
        """Ask the agent to end, and compare what it leaves with the beginning. Raises Failed."""
        changed = len(self._files.changed())
        begun = self._clock()
        code = agent.stop()
        seconds = self._clock() - begun
        if code != 0:
            raise Failed(f"the agent ended with exit code {code}; its last words:", agent.tail())
        found = verdict(self._files)
        if found.wrong:
            raise Failed("the agent ended and has not put everything back:", found.lines())
        self.told += [
            f"SIGTERM to process {agent.pid} with {changed} files changed: the agent ended cleanly in {seconds:.1f} s.",
            *found.lines(),
        ]

    def _agent(self) -> AgentProcess:
        self._agents += 1
        config = os.path.join(self._folder, "plimsoll.yaml")
        with open(config, "w", encoding="utf-8") as file:
            sections = {"overcommit": cast.OVERCOMMIT} if self._swaps else {}
            json.dump({**json.loads(cast.CONFIG), **sections}, file)
        arguments = [
            *("--root", self._node.root),
            *("--state-dir", f"/{_STATE_DIRECTORY}"),
            *("--config", config),
            *("--kubeconfig", self._api.write_kubeconfig(os.path.join(self._folder, "kubeconfig"))),
            *("--node-name", cast.NODE_NAME),
            *("--listen", _free(self._listen)),
        ]
        if self._seconds is not None:
            arguments += ["--duration", str(self._seconds + 2 * _START_SECONDS + _GRACE_SECONDS)]
        return AgentProcess(arguments, os.path.join(self._folder, f"agent-{self._agents}.log"))

    def _heading(self, agent: AgentProcess, left: str) -> list[str]:
        lines = [
            f"SIMULATED node ({self._kind}); the agent is real: process {agent.pid}; {left}",
            f"http://{agent.address()}/  http://{agent.address()}/metrics",
        ]
        return lines if self._adopted is None else [*lines, f"It {self._adopted}."]

    @staticmethod
    def _ask(agent: AgentProcess, *, patient: bool) -> Mapping[str, Any] | None:
        """What the agent says now, if anything; a ``patient`` asker waits until it knows pods."""
        address = agent.address()
        if address is None:
            return None
        try:
            answer = fetch(f"http://{address}/status.json", _FETCH_SECONDS)
        except Unanswered:
            # Not listening yet, or just dying: what has become of it is looked at in the next round.
            return None
        if patient and not answer["pods"]:
            return None
        return answer

    def _live(self) -> None:
        """Let the node live up to now."""
        self._node.advance(self._clock() - self._born)
        self._follow()

    def _follow(self) -> None:
        """Tell the API server what became of the pods."""
        objects = self._node.objects()
        if objects.keys() - self._known.keys():
            # Before any agent can hear of them.
            self._files.note()
        for namespace, name in self._known.keys() - objects.keys():
            self._api.delete_pod(namespace, name)
        for key, item in objects.items():
            if self._known.get(key) != item:
                self._api.put_pod(item)
        self._known = objects


def _adoption(answer: Mapping[str, Any]) -> str | None:
    """What an agent says it found of an earlier run, once it has looked: the one change that is of no knob."""
    return next((str(each["reason"]) for each in answer["changes"] if each["knob"] is None), None)


def _free(listen: str) -> str:
    """``listen``, or port 0 of the same host when somebody has that port. Any other fault is the agent's to report."""
    host, separator, port = listen.rpartition(":")
    if not separator or not (port.isascii() and port.isdecimal()):
        return listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host.strip("[]"), int(port)), family=family):
            return listen
    except OSError as error:
        return f"{host}:0" if error.errno == errno.EADDRINUSE else listen
    except OverflowError:
        return listen
