"""
Hours in small: pods come and go and somebody else writes the agent's knobs, while it enforces. Nothing piles up.

PLIMSOLL_SOAK_SECONDS makes it longer; ``make soak`` is an hour.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.vm.agent import CONFIG, ENFORCE, HOME, PODS, PORT, Agent
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.pods import Pod

SECONDS = float(os.environ.get("PLIMSOLL_SOAK_SECONDS", "90"))

pytestmark = [pytest.mark.vm, pytest.mark.timeout(SECONDS * 2 + 600)]

SOAK = "soak.service"
LINES = "/run/soak.jsonl"
# A round of twelve seconds, a look every second, an emulated processor.
LINE_SECONDS = 180
COMPACT_BYTES = 1 << 20
AUDIT_BYTES = 3 * (2 << 20)
KNOBS = ("cpu.idle", "cpu.weight", "cpu.weight.nice", "memory.low")
# One connection to the endpoint may be open or not.
DESCRIPTORS = 2
# In KiB, for half of the run, however long it is: in an hour's half 4,000 pods come and go.
MEMORY = 2048
# So many pods fill the journal more than once.
MANY = 4000


def lines(guest: Machine) -> Iterator[dict[str, Any]]:
    """What soak.py prints, as it comes."""
    number = 1
    while True:
        text = guest.sh(
            f"while systemctl is-active --quiet {SOAK} && [ $(wc -l < {LINES}) -lt {number} ]; do sleep 0.5; done; "
            f"tail --lines=+{number} {LINES}",
            timeout=LINE_SECONDS,
        )
        if not text:
            return
        for line in text.splitlines():
            print(line, flush=True)
            yield json.loads(line)
            number += 1


def growth(rounds: list[dict[str, Any]], name: str) -> float:
    """By how much it rose from the first to the last of these, along a straight line through all of them."""
    seconds = [each["seconds"] for each in rounds]
    return statistics.linear_regression(seconds, [each[name] for each in rounds]).slope * (seconds[-1] - seconds[0])


def test_f31_nothing_piles_up_and_everything_goes_back(guest_image: Image) -> None:
    """
    F31: descriptors, threads, memory, series and journal are flat over the second half. In the end every setting is as
    at the start, but for the outsider's, which is as the outsider left it.
    """
    with Machine(guest_image, kernel="6.12") as guest:
        agent = Agent(guest)
        guest.push(CONFIG, ENFORCE)
        calm = [
            Pod(guest, 1, "calm-low", "BestEffort", "low"),
            Pod(guest, 2, "calm-high", "Burstable", "high", memory="32Mi"),
        ]
        low = Pod(guest, 3, "low", "BestEffort", "low")
        high = Pod(guest, 4, "high", "Burstable", "high", memory="16Mi")
        normal = Pod(guest, 5, "normal", "Burstable", "normal")
        pods = (*calm, low, high, normal)
        for pod in pods:
            pod.start()
        for pod in pods:
            pod.wait()
        cgroups = {pod: f"/sys/fs/cgroup/{pod.slice_path}" for pod in pods}
        guest.sh(f"echo 300 > {cgroups[calm[0]]}/cpu.weight; echo 8192 > {cgroups[calm[1]]}/memory.low")
        start: dict[str, str] = agent.script("settings.py")

        agent.start()
        low.wait_for("cpu.idle", "1")
        process = agent.pid
        model = Pod(guest, 0, "name-of-the-model", "BestEffort", "low")
        plan = {
            "process": process,
            "page": f"http://127.0.0.1:{PORT}/metrics",
            "pods": len(pods),
            "model": {
                "manifest": model.manifest(),
                "name": model.name,
                "uid": model.uid,
                "container": model.container,
                "folder": PODS,
                "above": os.path.dirname(cgroups[low]),
            },
            "outsider": {"low": cgroups[low], "high": cgroups[high], "normal": cgroups[normal]},
        }
        guest.push("/run/soak.json", json.dumps(plan))
        guest.sh(
            f"touch {LINES}; systemd-run --quiet --unit={SOAK} -p StandardOutput=append:{LINES} "
            f"-p StandardError=append:/run/soak.err python3 {HOME}/scripts/soak.py {SECONDS} /run/soak.json"
        )
        printed = list(lines(guest))
        print(errors := guest.pull("/run/soak.err").decode())
        assert errors == ""
        *rounds, outsider = printed
        assert agent.pid == process
        agent.stop()
        left: dict[str, str] = agent.script("settings.py")
        journal = guest.sh("stat --format=%s /run/plimsoll/journal").strip()
        log = agent.log()

    late = rounds[len(rounds) // 2 :]
    rose = {name: growth(late, name) for name in ("descriptors", "threads", "memory", "series", "series of pods")}
    print(f"{rounds[-1]['made']} pods in {rounds[-1]['seconds']:.0f} s; rose over the second half: {rose}")
    print({level: sum(line["level"] == level for line in log) for level in ("debug", "info", "warning", "error")})

    # It was an upheaval.
    assert rounds[-1]["made"] > SECONDS
    assert rounds[-1]["drifts"] > 2
    assert outsider["outsider"]["ok"] > SECONDS
    # Under the same conditions the same is held.
    assert {each["series of pods"] for each in rounds} == {rounds[0]["series of pods"]}
    assert {each["threads"] for each in late} == {rounds[0]["threads"]}
    assert max(each["descriptors"] for each in late) <= rounds[0]["descriptors"] + DESCRIPTORS
    assert rose["descriptors"] <= DESCRIPTORS
    assert rose["memory"] <= MEMORY
    # An outcome that had not happened before adds its series, of which there are few.
    assert rose["series"] <= 4
    assert max(each["most"]["journal"] for each in rounds) < COMPACT_BYTES * 1.1
    if rounds[-1]["made"] > MANY:
        assert any(after["journal"] < before["journal"] for before, after in pairwise(rounds))
    assert max(each["most"]["state"] for each in rounds) < 2 * COMPACT_BYTES * 1.1 + AUDIT_BYTES
    assert max(each["held"] for each in rounds) <= len(pods) + 2

    own = outsider["own"]
    assert {path: left.get(path) for path in own} == own
    others = {os.path.dirname(path) for path in own}
    known = [path for path in left.keys() | start.keys() if os.path.dirname(path) not in others]
    assert {path: (start.get(path), left.get(path)) for path in known if start.get(path) != left.get(path)} == {}
    # In the outsider's own cgroups, too, everything it did not write.
    spelled = {f"{folder}/{name}" for folder in others for name in KNOBS}
    assert {path for path in start.keys() - spelled if start[path] != left.get(path)} == set()
    assert journal == "0"
    assert [line for line in log if line["level"] == "error"] == []
