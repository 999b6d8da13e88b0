"""
A node in a guest whose agent moves memory of one low-priority pod to a swap device, and what a test can do to it.

Owns the pods, the device and the agent's configuration. What went wrong, and what must come of it, is the test's.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.vm.agent import CONFIG, LOG, PODS, PORT, Agent
from tests.vm.exposition import Page
from tests.vm.machine import Machine
from tests.vm.pods import Pod

MIB = 1 << 20
SERIAL = "plimsoll-swap"
SWAP = f"/dev/disk/by-id/virtio-{SERIAL}"
SECOND = "/dev/disk/by-id/virtio-plimsoll-data"
# A request is a fifth of the pod, and what it feels hardly counts: the law is tried elsewhere. The device is a test's
# and has no life to be careful with.
_FAST: dict[str, object] = {
    "mode": "enforce",
    "swapDevice": SWAP,
    "selector": "plain",
    "probation": "2s",
    "window": "10s",
    "interval": "2s",
    "writeBudget": "1Gi",
    "watermark": 0.05,
    "step": {"start": 0.2, "largest": 0.2},
    "podRatio": 10.0,
}
REQUEST_SECONDS = 10.0
LONGEST = 300.0
"""Until the agent must have done what is waited for, on an emulated processor that others use, too."""

Memory = tuple[int, int, int]


class Node:
    """
    A low-priority and a high-priority pod, both there in ``guest``; the swap device is on.

    ``pages``: of the running agent, in order, as far as somebody looked.
    """

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        self.agent = Agent(guest)
        self.batch = Pod(guest, 1, "batch", priority="low")
        self.service = Pod(guest, 2, "service", priority="high")
        for pod in (self.batch, self.service):
            pod.start()
            pod.wait()
        # As on a node that was made ready: nothing of its own may be on the device.
        guest.sh("systemctl set-property --runtime init.scope MemorySwapMax=0")
        guest.sh("systemctl set-property --runtime system.slice MemorySwapMax=0")
        guest.sh(f"mkswap {SWAP}; swapon {SWAP}; mkswap {SECOND}")
        self._url = f"http://127.0.0.1:{guest.forward(PORT)}/metrics"

    def mend(self) -> None:
        """No agent, both pods with nothing kept for them, no other device than the one."""
        if self.agent.pid:
            self.agent.stop("KILL")
            self.restore()
        self.guest.run(f"swapoff {SECOND}; swapon {SWAP}")
        for pod in (self.batch, self.service):
            if self.guest.run(f"systemctl is-active --quiet {pod.scope}").status != 0:
                pod.start()
                pod.wait()
            for each in ("memory.min", f"{pod.scope}/memory.min"):
                self.guest.sh(f"echo 0 > {self.path(pod, each)}")

    def page(self) -> Page:
        """Of the running agent. Raises OSError while there is none."""
        with urllib.request.urlopen(self._url, timeout=REQUEST_SECONDS) as answer:
            return Page(answer.read().decode())

    def until(self, what: Callable[[Page], bool], why: str, seconds: float = LONGEST) -> Page:
        """The first page of which this is true."""
        end = time.monotonic() + seconds
        page = None
        while time.monotonic() < end:
            try:
                page = self.page()
            except (OSError, urllib.error.URLError):
                page = None  # it is not listening yet
            if page is not None and what(page):
                return page
            time.sleep(0.3)
        raise AssertionError(f"not in {seconds} s: {why}; {None if page is None else told(page)}\n{self._log_end()}")

    def reclaiming(self, size: int = 8 * MIB) -> Page:
        """The page once so much of the low-priority pod is on the device."""
        return self.until(lambda page: offloaded(page) >= size, f"{size >> 20} MiB on the device")

    def paging(self, *arguments: str, timeout: float = 120.0) -> Any:
        """What paging.py answers."""
        return self.agent.script("paging.py", *arguments, timeout=timeout)

    def path(self, pod: Pod, name: str) -> str:
        """A file of the pod's cgroup."""
        return f"/sys/fs/cgroup/{pod.slice_path}/{name}"

    def read(self, pod: Pod, name: str) -> str:
        """What it says."""
        return self.guest.sh(f"cat {self.path(pod, name)}").strip()

    def number(self, pod: Pod, name: str) -> int:
        return int(self.read(pod, name))

    def stalled(self, pod: Pod, what: str) -> float:
        """Seconds some of the pod's tasks have waited for memory, or io, since it is there."""
        return int(self.read(pod, f"{what}.pressure").splitlines()[0].rpartition("total=")[2]) / 1e6

    @contextmanager
    def holding(self, pod: Pod, hot: int, cold: int, *, mortal: bool = False) -> Iterator[None]:
        """
        While inside, the pod has so many MiB that it uses all the time, and that it never uses again.

        ``mortal``: unless whoever uses them is killed.
        """
        with pod.parts(hot, 0, cold, mortal=mortal):
            yield

    @contextmanager
    def frozen(self, pod: Pod) -> Iterator[None]:
        """While inside, nothing of the pod runs."""
        switch, events = (self.path(pod, f"cgroup.{each}") for each in ("freeze", "events"))
        self.guest.sh(f"echo 1 > {switch}; until grep -q '^frozen 1' {events}; do sleep 0.1; done")
        try:
            yield
        finally:
            self.guest.sh(f"echo 0 > {switch}")

    def settings(self) -> dict[str, str]:
        """Every setting of the pods' cgroups."""
        found: dict[str, str] = self.agent.script("settings.py")
        return found

    def configure(self, **said: object) -> None:
        """Give the agent this configuration of overcommit besides what makes it fast."""
        config = {
            "pressure": {"interval": "1s"},
            "http": {"listen": f"0.0.0.0:{PORT}"},
            "overcommit": {**_FAST, **said},
        }
        self.guest.push(CONFIG, json.dumps(config))

    @contextmanager
    def enforcing(self, start: dict[str, str] | None = None, **said: object) -> Iterator[None]:
        """
        While inside, the agent runs. In the end the log has no error, and all settings are as before.

        ``start``: before an earlier one that was killed; ``said``: the section ``overcommit``.
        """
        self.configure(**said)
        start = start or self.settings()
        self.guest.sh(f"rm -f {LOG}")
        self.agent.start()
        try:
            yield
        finally:
            self.agent.stop()
        self.untouched(start)
        assert [line for line in self.agent.log() if line["level"] == "error"] == []

    def untouched(self, start: dict[str, str]) -> None:
        """All settings are what they were."""
        now = self.settings()
        assert {path: (start[path], now[path]) for path in start.keys() & now.keys() if start[path] != now[path]} == {}

    def restore(self) -> str:
        """What `plimsoll restore` says."""
        return self.agent.plimsoll("restore").check().stdout.rstrip()

    def _log_end(self) -> str:
        return self.guest.run(f"tail -n 5 {LOG}; ls {PODS}").stdout


def ticks(page: Page) -> float:
    """How often the agent has looked."""
    return page.value("plimsoll_ticks_total")


def off(paging: Callable[..., Any], device: str, floor: int = 0) -> str:
    """
    What ``paging``, that is paging.py, answers to swapoff with so many bytes left free.

    Two seconds of a processor that others use may not do: what came back by then stays, and it is asked again.
    """
    while (outcome := str(paging("off", device, str(floor))["outcome"])) == "busy":
        pass
    return outcome


def offloaded(page: Page) -> float:
    """Bytes of the low-priority pod on the device, 0 before the agent has looked."""
    return sum(value for _, value in page.series("plimsoll_pod_offloaded_bytes", pod="batch"))


def asked(page: Page) -> float:
    """Bytes the kernel has been asked for."""
    return sum(value for _, value in page.series("plimsoll_pod_reclaim_asked_bytes_total", pod="batch"))


def pending(page: Page) -> float:
    """Bytes of the request that is under way: the pod may be said to be paused for something graver meanwhile."""
    return sum(value for _, value in page.series("plimsoll_pod_reclaim_pending_bytes", pod="batch"))


def paused(page: Page) -> set[str]:
    """Why the node, and the low-priority pod, give nothing."""
    found = (*page.series("plimsoll_overcommit_paused"), *page.series("plimsoll_pod_reclaim_paused", pod="batch"))
    return {labels["reason"] for labels, value in found if value}


def told(page: Page) -> dict[str, float]:
    """What a person would look at."""
    names = ("plimsoll_overcommit_", "plimsoll_swap_", "plimsoll_pod_reclaim", "plimsoll_reclaims", "plimsoll_pod_off")
    return {f"{name}{labels}": value for name, labels, value in page.all() if name.startswith(names)}
