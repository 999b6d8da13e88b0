"""
Runs in the guest, for soak.py: somebody else who writes the agent's knobs and makes and removes cgroups.

Owns what it wrote: ``own`` says which of its values must stand when the agent has ended. To pods that live on it writes
nothing that the agent would write, so that it can be told whose stands.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections import Counter

from settings import setting
from soak_pods import Living

PAUSE_SECONDS = (0.02, 0.4)
STRAYS = 5
PAGE = 4096
# Less than any memory request of the soak's pods.
MOST_PAGES = 1000
# What a cgroup answers that goes meanwhile, an idle one to a weight, and any to a number out of the knob's range.
EXPECTED = {errno.ENOENT, errno.ENODEV, errno.EINVAL, errno.ERANGE}
KNOBS = ("cpu.idle", "cpu.weight", "memory.low")


class Outsider:
    """
    Writes to three pods that live on, by their cgroups: ``low``, which the agent makes idle; ``high``, whose memory it
    protects; ``normal``, which it leaves alone. To pods of ``living``. And makes cgroups of its own in ``above``.
    """

    def __init__(self, low: str, high: str, normal: str, living: Living, above: str) -> None:
        self.writes: Counter[str] = Counter()
        self.own: dict[str, str] = {}
        self._low = low
        self._high = high
        self._normal = normal
        self._living = living
        self._above = above
        self._chance = random.Random(1)
        self._strays: list[str] = []
        acts = (self._weigh, self._weigh_again, self._protect, self._change, self._stray)
        self._acts = (*acts, *[self._molest] * len(acts))

    def run(self, end: float) -> None:
        """Until ``end`` (monotonic seconds)."""
        while time.monotonic() < end:
            self._chance.choice(self._acts)()
            time.sleep(self._chance.uniform(*PAUSE_SECONDS))

    def _weigh(self) -> None:
        """As systemd's daemon-reload does it."""
        self._write(f"{self._low}/cpu.idle", "0")
        self.own[f"{self._low}/cpu.idle"] = "0"
        while not self._weigh_again():
            # Between the two the agent has taken it again: ever more rarely.
            self._write(f"{self._low}/cpu.idle", "0")

    def _weigh_again(self) -> bool:
        """As the kubelet does it: refused while the pod is idle."""
        weight = str(self._chance.randint(2, 10_000))
        taken = self._write(f"{self._low}/cpu.weight", weight)
        if taken:
            self.own[f"{self._low}/cpu.weight"] = weight
        return taken

    def _protect(self) -> None:
        value = str(PAGE * self._chance.randint(1, MOST_PAGES))
        if self._write(f"{self._high}/memory.low", value):
            self.own[f"{self._high}/memory.low"] = value

    def _change(self) -> None:
        """Nobody else writes there: what it reads back must stay."""
        self._write(f"{self._normal}/{self._chance.choice(KNOBS)}", self._value())
        self._note(self._normal)

    def _molest(self) -> None:
        pod = self._living.one(self._chance)
        if pod is not None:
            self._write(f"{pod}/{self._chance.choice(KNOBS)}", self._value())

    def _stray(self) -> None:
        """A cgroup that looks like a pod's and is nobody's; one below a pod."""
        below = f"{self._low}/outside"
        os.mkdir(below)
        os.rmdir(below)
        if len(self._strays) == STRAYS:
            gone = self._strays.pop(0)
            os.rmdir(gone)
            for each in KNOBS:
                del self.own[f"{gone}/{each}"]
        uid = f"99999999_2222_3333_4444_{self._chance.randrange(10**12):012d}"
        path = f"{self._above}/{os.path.basename(self._above).removesuffix('.slice')}-pod{uid}.slice"
        os.mkdir(path)
        self._strays.append(path)
        self._write(f"{path}/{self._chance.choice(KNOBS)}", self._value())
        self._note(path)

    def _note(self, cgroup: str) -> None:
        self.own.update((f"{cgroup}/{each}", setting(f"{cgroup}/{each}") or "") for each in KNOBS)

    def _value(self) -> str:
        return self._chance.choice(("0", "1", str(PAGE * self._chance.randint(1, 2))))

    def _write(self, path: str, value: str) -> bool:
        """Whether the kernel took it."""
        try:
            # Never O_CREAT: the cgroup may be gone, and on its way.
            descriptor = os.open(path, os.O_WRONLY)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in EXPECTED:
                raise
            self.writes[errno.errorcode[error.errno]] += 1
            return False
        self.writes["ok"] += 1
        return True
