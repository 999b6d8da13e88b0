"""
The kernel's own cpufreq in a guest: what it makes of limits, heat and CPUs that go off line, and the frequency policy
on it with real cpusets. Only the last step is missing: no clock follows the register that the driver writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll.kernel.hostfs import HostFs
from plimsoll.model.cpus import CpuSet
from plimsoll.model.outcome import Outcome
from plimsoll.simulator.cpufreq import Cpufreq
from tests.vm.agent import CONFIG, PORT
from tests.vm.ceilings import Ceilings
from tests.vm.image import Image
from tests.vm.isst.promises import broken, instants
from tests.vm.machine import Machine
from tests.vm.performance_states import DRIVER, MHZ, processor
from tests.vm.steered import ALL, Steered

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

CPU = "/sys/devices/system/cpu"
HEAT = "/sys/class/thermal/cooling_device0/cur_state"
LIMITS = ("scaling_min_freq", "scaling_max_freq")
TABLE = tuple(sorted(1000 * each for each in MHZ))
LOWEST, HIGHEST = TABLE[0], TABLE[-1]
# In and between the driver's frequencies, and beyond them.
FLOORS = (LOWEST, 850_000, 1_500_000, 2_000_000, 3_000_000)
CEILINGS = (500_000, LOWEST, 900_000, 1_500_000, 1_999_999, 2_000_000, HIGHEST, 3_000_000)
# Each step of a processor's cooling device takes a fifth of the highest frequency (drivers/acpi/processor_thermal.c).
STEPS = range(4)
ENFORCE = (
    f"pressure: {{interval: 1s}}\nhttp: {{listen: 127.0.0.1:{PORT}}}\n"
    "frequency: {mode: enforce, window: 4s, coolDown: 2s, shrinkStep: 1.0}\n"
)


@pytest.fixture(scope="module")
def guest(guest_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    qemu = processor(tmp_path_factory.mktemp("acpi"))
    with Machine(guest_image, cpus=8, qemu=qemu) as machine:
        machine.sh(f"modprobe {DRIVER}")
        assert machine.sh(f"cat {CPU}/cpufreq/policy1/scaling_driver").strip() == DRIVER
        yield machine


@pytest.fixture(scope="module")
def node(guest: Machine) -> Steered:
    return Steered(guest)


@pytest.fixture
def ceilings(node: Steered) -> Ceilings:
    return Ceilings(node.guest, HIGHEST)


def test_the_model_is_the_kernel(guest: Machine, tmp_path: Path) -> None:
    """
    simulator/cpufreq.py, on which the tests without a guest rely, shows for each floor and ceiling that is asked for,
    at each degree of heat, what the kernel shows; and a policy without a CPU is EBUSY to it, too.
    """
    asked = [(step, floor, ceiling) for step in STEPS for floor in FLOORS for ceiling in CEILINGS]
    folder = "sys/devices/system/cpu/cpufreq/policy1"
    files = dict(zip(("cpuinfo_min_freq", "cpuinfo_max_freq", *LIMITS), (LOWEST, HIGHEST) * 2, strict=True))
    (tmp_path / folder).mkdir(parents=True)
    for name, value in files.items():
        (tmp_path / folder / name).write_text(f"{value}\n")
    model = Cpufreq(table=TABLE)
    modelled = []
    with HostFs(str(tmp_path), fault=model) as host:
        for step, floor, ceiling in asked:
            model.cap = HIGHEST * (100 - 20 * step) // 100
            for name, value in zip(LIMITS, (floor, ceiling), strict=True):
                assert host.write(f"{folder}/{name}", f"{value}\n".encode())[0] is Outcome.OK
            modelled.append(" ".join((host.read(f"{folder}/{name}").text() or "").strip() for name in LIMITS))
        # The kernel puts a limit into force by a work of its own, after the write.
        script = "\n".join(
            f"echo {step} > {HEAT}; echo {floor} > scaling_min_freq; echo {ceiling} > scaling_max_freq; "
            f"shows '{model_shows}'"
            for (step, floor, ceiling), model_shows in zip(asked, modelled, strict=True)
        )
        shows = (
            f"shows() {{ for look in $(seq 50); do sleep 0.02; shown=$(echo $(cat {' '.join(LIMITS)})); "
            '[ "$shown" != "$1" ] || break; done; echo "$shown"; }'
        )
        shown = guest.sh(f"cd {CPU}/cpufreq/policy1\n{shows}\n{script}\necho 0 > {HEAT}", timeout=600).splitlines()
        assert modelled == shown
        model.inactive.add(str(tmp_path / folder))
        assert host.read(f"{folder}/{LIMITS[0]}").outcome is Outcome.BUSY
    offline = guest.run(f"cd {CPU}/cpufreq/policy1; echo 0 > {CPU}/cpu1/online; cat scaling_max_freq affected_cpus")
    guest.sh(
        f"echo 1 > {CPU}/cpu1/online; cd {CPU}/cpufreq/policy1\n"
        f"echo {LOWEST} > scaling_min_freq; echo {HIGHEST} > scaling_max_freq"
    )
    assert offline.stderr.count("Device or resource busy") == 2


def limits(guest: Machine) -> dict[str, str]:
    """What every policy shows, the limits and what it runs at."""
    lines = guest.sh(f"cd {CPU}/cpufreq; grep -H . policy*/scaling_min_freq policy*/scaling_max_freq").splitlines()
    return dict(line.split(":", 1) for line in lines)


def slow(guest: Machine) -> CpuSet:
    """The CPUs that may not be as fast as they could."""
    return frozenset(
        int(path.split("/")[0].removeprefix("policy"))
        for path, value in limits(guest).items()
        if path.endswith("max_freq") and int(value) < HIGHEST
    )


def wait_for_slow(guest: Machine, cpus: CpuSet) -> None:
    files = " ".join(f"policy{cpu}/scaling_max_freq" for cpu in sorted(cpus))
    guest.sh(f"cd {CPU}/cpufreq; until ! grep -q {HIGHEST} {files}; do sleep 0.5; done", timeout=240)


def test_promises_hold_on_the_real_driver(node: Steered, ceilings: Ceilings) -> None:
    """
    With ``mode: enforce`` and no Speed Select the group grows with the load and shrinks without it, siblings together;
    heat that comes and goes is nobody's wish; a slow core that goes off line holds nothing up and is taken in again. At
    no instant a high-priority pod may run on a slow CPU. After SIGTERM in the heat, and after SIGKILL with ``plimsoll
    restore``, every limit and every setting is as before.
    """
    guest, agent, front, batch = node.guest, node.agent, node.front, node.batch
    guest.push(CONFIG, ENFORCE)
    start, before = node.settings(), limits(guest)
    found = agent.doctor()
    assert {name: found[name]["available"] for name in ("frequency", "cpufreq", "isst", "energy-preference")} == {
        "frequency": True,
        "cpufreq": True,
        "isst": False,
        "energy-preference": False,
    }

    agent.start()
    node.wait_for_cpus(batch, "-ge", 4)
    wait_for_slow(guest, node.cpus(batch))
    low = node.cpus(batch)
    assert not node.cpus(front) & low
    assert all(cpu ^ 1 in low for cpu in low)
    # auto, where the driver does not say its base frequency, is 1,500 MHz: the kernel takes the next lower one.
    assert {limits(guest)[f"policy{cpu}/scaling_max_freq"] for cpu in low} == {"1200000"}
    with batch.load("spin", "4"):
        guest.sh("sleep 2")
        # What a CPU runs at follows a new limit when it does something.
        guest.sh("\n".join(f"taskset -c {cpu} true" for cpu in low))
        speeds = guest.sh(f"cd {CPU}/cpufreq; cat {' '.join(f'policy{cpu}/scaling_cur_freq' for cpu in sorted(low))}")
    assert max(map(int, speeds.split())) <= 1_200_000

    small = len(node.cpus(front))
    with front.load("spin", "5"):
        node.wait_for_cpus(front, "-ge", 6)
        # All of package 0: 60 % of the highest, so 1,600 MHz. What is slow then is not ours to tell from it.
        guest.sh(f"echo 2 > {HEAT}; sleep 4")
    guest.sh(f"echo 0 > {HEAT}")
    node.wait_for_cpus(front, "-le", small)
    wait_for_slow(guest, node.cpus(batch))

    # A core of the low group, the first CPU of which is not the boot CPU.
    core = max(node.cpus(batch) - {0, 1})
    gone = frozenset({core, core ^ 1})
    guest.sh("".join(f"echo 0 > {CPU}/cpu{cpu}/online\n" for cpu in sorted(gone)))
    with front.load("spin", "5"):
        node.wait_for_cpus(front, "-ge", small + 1)
    node.wait_for_cpus(front, "-le", small)
    assert not node.cpus(front) & gone
    guest.sh("".join(f"echo 1 > {CPU}/cpu{cpu}/online\n" for cpu in sorted(gone)))
    node.wait_for_cpus(batch, "-ge", len(ALL) - small)
    wait_for_slow(guest, node.cpus(batch))
    assert gone <= slow(guest)

    guest.sh(f"echo 2 > {HEAT}")
    agent.stop()
    guest.sh(f"echo 0 > {HEAT}")
    assert limits(guest) == before
    node.assert_back(start)
    seen = instants(ceilings.changes(), node.witness.writes(), [front.slice], ALL)
    sizes = {len(each.high[front.slice]) for each in seen}
    print(f"{len(ceilings.changes())} writes to ceilings, {len(seen)} instants, sizes {sizes}")
    assert broken(seen) == []
    assert {small, 6} <= sizes
    assert any(each.slow for each in seen)

    agent.start()
    node.wait_for_cpus(batch, "-lt", len(ALL))
    wait_for_slow(guest, node.cpus(batch))
    agent.stop("KILL")
    restored = agent.plimsoll("restore")
    assert restored.status == 0, restored.stderr
    assert limits(guest) == before
    node.assert_back(start)
    assert [line for line in agent.log() if line["level"] == "error"] == []
