"""
Runs in the guest: somebody takes all kdamonds while one of ours is being started, at each system call that is made.

    taken_kdamonds.py CGROUP

Prints JSON: how it was answered and what then stands in theirs, call by call, and the answer where nobody takes them.
"""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.reclaim.kdamonds import COUNT, FOLDER, Kdamonds, Setting, Task
from plimsoll.model.outcome import Outcome

MIB = 1 << 20
TREE = Path("/", FOLDER)
NUMBER = Path("/", COUNT)


def take() -> None:
    """They do not ask."""
    for state in TREE.glob("*/state"):
        if state.read_text(encoding="ascii") == "on\n":
            state.write_text("off\n", encoding="ascii")
    NUMBER.write_text("1\n", encoding="ascii")


def main() -> None:
    left = 0
    call = ""

    def hook(operation: str, path: str) -> int:
        nonlocal left, call
        if left == 0:
            call = f"{operation} {path.partition(FOLDER)[2]}"
            take()
        left -= 1
        return 0

    setting = Setting(sys.argv[1], ((0, MIB), (MIB, 2 * MIB)), Task(1, 0), 2, 10)
    found = []
    with HostFs("/") as quiet, HostFs("/", fault=hook) as host:
        for calls in count():
            claimed, _ = Kdamonds(quiet).claim()
            assert claimed is Outcome.OK, claimed
            left = calls
            outcome, _ = Kdamonds(host).start(0, setting)
            if left >= 0:
                break
            state, contexts = ((TREE / "0" / each).read_text().strip() for each in ("state", "contexts/nr_contexts"))
            found.append({"call": call, "outcome": outcome, "state": state, "contexts": contexts})
            take()
            NUMBER.write_text("0\n", encoding="ascii")
        Kdamonds(quiet).release()
    print(json.dumps({"taken": found, "otherwise": outcome}))


if __name__ == "__main__":
    main()
