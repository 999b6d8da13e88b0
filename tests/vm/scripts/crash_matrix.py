"""
Runs in the guest: the agent's hands are killed at many steps of one life, and the whole agent is started after each.

    crash_matrix.py PODS_DIRECTORY POINTS

A life takes the lock, observes the pods, enforces preemption, narrows what it protects, lets go of everything, takes it
again and ends. Its steps are the system calls at the host's boundary and the journal's; an append counts twice, because
a kill may leave a part of its bytes. The next life is the unmodified agent: it must get to where the first one was
going, and after SIGTERM every setting must be as at the start. Prints JSON: the steps by kind, and what became of each
point.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sys
import time
import urllib.request
from collections import Counter
from typing import Any

from forked import child, ended
from settings import settings

from plimsoll.actor import Actor
from plimsoll.config.schema import Config
from plimsoll.daemon import Agent
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.lock import Held, InstanceLock
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.log import configure
from plimsoll.observer import Observer, pod_source
from plimsoll.options import Options

STATE = "/run/plimsoll"
COUNTED = "/run/counted.json"
LISTEN = "127.0.0.1:9470"
JOURNALS = ("journal", "journal.new")
# Less than any line of the journal.
TORN_BYTES = 60
SETTLE_SECONDS = 60.0
# So much later is each tick of a life that every knob is looked at in it.
TICK_SECONDS = 20.0


def config(mode: str = "enforce", share: float = 0.5) -> Config:
    return Config.model_validate({
        "http": {"listen": LISTEN},
        "pressure": {"interval": "1s"},
        "preemption": {"mode": mode, "memoryProtectionShare": share},
    })  # fmt: skip


# The second gives every pod a fraction of the first one's protection; the third lets go of everything.
TICKS = (config(), config(share=0.01), config("observe"), config())


class Steps:
    """Counts the steps once armed, and dies at one of them."""

    def __init__(self, deadly: int | None = None) -> None:
        self.names: list[str] = []
        self.armed = False
        self._deadly = deadly
        self._tearing = False

    def hook(self, operation: str, path: str) -> int:
        if self.armed:
            self._step(f"{operation} {os.path.basename(path)}")
            if operation == "write" and path in JOURNALS:
                self._tear(path)
        return 0

    def _step(self, name: str) -> None:
        if self._tearing or len(self.names) == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)

    def _tear(self, path: str) -> None:
        if len(self.names) == self._deadly:
            # The kernel takes so many bytes and no more. The journal writes the rest with another call, before which it
            # comes by here again.
            size = os.stat(f"{STATE}/{path}").st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + TORN_BYTES, resource.RLIM_INFINITY))
            self._tearing = True
        self.names.append(f"torn {path}")


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Life:
    """What a life came to whose end is no surprise."""

    def __init__(self, pods: str, steps: Steps) -> None:
        self.outcomes: Counter[str] = Counter()
        self.settled: list[dict[str, str]] = []
        self._steps = steps
        self._options = options(pods)

    def run(self, *, watched: bool = False) -> None:
        """``watched``: note the settings after each tick."""
        clock = Clock()
        source = pod_source(self._options, clock)
        observer = Observer(self._options, TICKS[0], source, clock)
        with HostFs(fault=self._steps.hook) as host, Hierarchies.detect(host) as hierarchies:
            self._steps.armed = True
            taken = InstanceLock(host, STATE).acquire()
            if not isinstance(taken, Held):
                raise RuntimeError(f"the lock could not be had: {taken}")
            actor = Actor(host, hierarchies, SpeedSelect(host), STATE, TICKS[0], clock=clock)
            for each in TICKS:
                actor.reconfigure(each)
                self.outcomes.update(result.outcome for result in actor.act(observer.snapshot()).results)
                clock.ahead += TICK_SECONDS
                if watched:
                    self.settled.append(settings())
            self.outcomes.update(result.outcome for result in actor.restore())
            actor.close()


def options(pods: str) -> Options:
    return Options(pods=pods, node_name="guest", state_dir=STATE)


def count(pods: str) -> dict[str, Any]:
    """A life that is not killed. In a child: its threads must not be there when others are forked."""

    def run() -> None:
        steps = Steps()
        life = Life(pods, steps)
        life.run(watched=True)
        found = {"names": steps.names, "settled": life.settled, "outcomes": life.outcomes}
        with open(COUNTED, "w") as file:
            json.dump(found, file)

    if ended(child(run)) != 0:
        raise RuntimeError("a life that nobody kills failed")
    with open(COUNTED) as file:
        return json.load(file)


def sample(names: list[str], points: int) -> list[int]:
    """One step of every kind, each in another part of the life, and as many more, evenly spread, as are wanted."""
    kinds: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        kinds.setdefault(name, []).append(number)
    chosen = {places[7 * turn % len(places)] for turn, places in enumerate(kinds.values())}
    spread = iter(range(0, len(names), max(1, len(names) // points)))
    while len(chosen) < points and (place := next(spread, None)) is not None:
        chosen.add(place)
    return sorted(chosen)


def next_life(pods: str, wanted: dict[str, str]) -> dict[str, Any]:
    """The whole agent, until it got where the plan says, and then until SIGTERM has ended it."""
    process = child(lambda: Agent(options(pods), config(), None).run())
    end = time.monotonic() + SETTLE_SECONDS
    while not (ticked() and settings() == wanted) and time.monotonic() < end:
        time.sleep(0.1)
    lacking = difference(wanted, settings())
    os.kill(process, signal.SIGTERM)
    return {"lacking": lacking, "ended": ended(process)}


def ticked() -> bool:
    """Whether the agent's first tick is over: from then on SIGTERM means to put everything back."""
    try:
        with urllib.request.urlopen(f"http://{LISTEN}/metrics", timeout=10) as answer:
            return b"\nplimsoll_ticks_total " in answer.read()
    except OSError:
        # Not yet there.
        return False


def is_torn(path: str) -> bool:
    """Whether the file is there and ends in the middle of a line."""
    try:
        with open(path, "rb") as file:
            return file.read()[-1:] not in (b"", b"\n")
    except OSError:
        return False


def difference(one: dict[str, str], other: dict[str, str]) -> dict[str, list[str | None]]:
    paths = sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
    return {path: [one.get(path), other.get(path)] for path in paths}


def main() -> None:
    pods, points = sys.argv[1], int(sys.argv[2])
    configure(level="error", style="json")
    start = settings()
    shutil.rmtree(STATE, ignore_errors=True)
    counted = count(pods)
    names, wanted = counted["names"], counted["settled"][-1]
    found = []
    for deadly in sample(names, points):
        # The very steps that were counted.
        shutil.rmtree(STATE)
        name = names[deadly]
        killed = ended(child(Life(pods, Steps(deadly)).run))
        changed = difference(start, settings())
        torn = is_torn(f"{STATE}/{name.partition(' ')[2]}")
        found.append({
            "step": deadly,
            "name": name,
            "killed": killed,
            "changed": changed,
            "torn": torn,
            **next_life(pods, wanted),
            "left": difference(start, settings()),
            "journal": os.stat(f"{STATE}/journal").st_size,
        })  # fmt: skip
    json.dump(
        {
            "steps": len(names),
            "kinds": Counter(names),
            "outcomes": counted["outcomes"],
            "ticks": [difference(start, each) for each in counted["settled"]],
            "points": found,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
