"""F16 on a real kernel: SIGTERM to an agent that holds the knobs of 250 pods, on a node without a CPU to spare."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.vm.agent import CONFIG, ENFORCE, PODS, UNIT, Agent
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.pods import Pod

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

ALL = 250
# The kubelet gives thirty. The agent takes ten of them at most for putting back, and says what is left then.
GRACE_SECONDS = 30

ENDED = f"""
begun=$(date +%s%N)
systemctl kill --signal=TERM {UNIT}
while systemctl is-active --quiet {UNIT}; do sleep 0.1; done
echo $(($(date +%s%N) - begun)) $(systemctl show --property=Result --value {UNIT})
"""


def test_f16_250_pods_go_back_after_sigterm(guest_image: Image, tmp_path: Path) -> None:
    """
    F16: 125 idle and 125 protected pods on Linux 6.12, while a pod wants every CPU: nothing is left when the ten
    seconds are over that the agent takes for it, and it is gone before the kubelet would kill it.
    """
    with Machine(guest_image, kernel="6.12") as guest:
        agent = Agent(guest)
        guest.push(CONFIG, ENFORCE)
        # systemd makes the first two and the slices above them; the others are like them, without a process.
        first = Pod(guest, 1, "pod-1", "BestEffort", "low"), Pod(guest, 2, "pod-2", "Burstable", "high", memory="1Mi")
        greedy = Pod(guest, 999, "greedy", "Burstable", "normal")
        for pod in (*first, greedy):
            pod.start()
        for pod in (*first, greedy):
            pod.wait()
        others = [
            Pod(guest, number, f"pod-{number}", "BestEffort", "low")
            if number % 2
            else Pod(guest, number, f"pod-{number}", "Burstable", "high", memory="1Mi")
            for number in range(3, ALL + 1)
        ]
        guest.sh(f"cd /sys/fs/cgroup && mkdir -p {shlex.join(f'{each.slice_path}/{each.scope}' for each in others)}")
        for each in others:
            (tmp_path / f"{each.name}.yaml").write_text(each.manifest())
        guest.push_tree(PODS, tmp_path)
        start: dict[str, str] = agent.script("settings.py")

        agent.start()
        # Reading so many manifests takes a minute or two where the processor is emulated.
        idle, low = (f"/sys/fs/cgroup/{each.slice_path}" for each in others[-2:])
        taken = f"[ $(cat {idle}/cpu.idle) = 1 ] && [ $(cat {low}/memory.low) = {1 << 20} ]"
        guest.sh(f"until {taken}; do sleep 1; done", timeout=400)
        with greedy.load("spin", "2"):
            took, result = guest.sh(ENDED, timeout=120).split()
        left: dict[str, str] = agent.script("settings.py")
        log = agent.log()
        journal = guest.sh("stat --format=%s /run/plimsoll/journal").strip()

    seconds = int(took) / 1e9
    [restored] = [each for each in log if each["event"] == "restored"]
    print(f"{restored['restored']} knobs put back; ended {seconds:.1f} s after SIGTERM")
    assert {path: (start[path], left.get(path)) for path in start if start[path] != left.get(path)} == {}
    assert (restored["left"], journal, result) == (0, "0", "success")
    # Two more above those that are protected.
    assert restored["restored"] == ALL + 2
    assert seconds < GRACE_SECONDS
