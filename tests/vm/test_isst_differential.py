"""
The product's Speed Select bindings and the kernel's own intel-speed-select, on the same device: equal registers.

Where they must differ, for the kernel's tool does something else than it says, the difference is named and asserted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.simulator.speed_select_hardware import packed
from plimsoll.simulator.speed_select_machine import Generation, MachineDescription, describe
from tests.vm.agent import HOME
from tests.vm.image import Image
from tests.vm.isst.emulator import KERNEL_ARGUMENTS, SECONDS, Emulator, Registers, Tool, processor
from tests.vm.isst.tool import tool
from tests.vm.machine import Machine

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

# Model and stepping. The tool takes its generation from the driver's answer, but by the processor whether classes of
# service are in the mailbox or in memory; its ioctls are the same on every other model.
PROCESSORS = {"mmio": (143, 8), "mailbox": (85, 11), "tpmi": (173, 1)}
MMIO = {"generation": "mmio", "cores": 2}
MAILBOX = {"generation": "mailbox", "cores": 2}
TPMI = {"generation": "tpmi", "cores": 1, "domains": 2, "io_domains": 1}
ALL_ONES = 2**64 - 1
Write = tuple[Knob, str, str]


@dataclass(frozen=True)
class Bench:
    """One guest with the device and both clients."""

    guest: Machine
    emulator: Emulator
    tool: Tool

    def begin(self, machine: dict[str, Any], found: dict[str, int], *, interlocked: bool = True) -> None:
        """A machine after its reset, and what is then ``found`` in its registers instead."""
        self.emulator.start(machine, found, set={"interlocked": interlocked})

    def said(self, *arguments: str) -> str:
        """What the tool says to one command: its exit code tells nothing."""
        done = self.tool.run(*arguments).check()
        return done.stdout + done.stderr

    def product(self, writes: list[Write]) -> list[dict[str, str | None]]:
        """The outcome of each of the product's writes, and what it reads back."""
        argv = ["python3", f"{HOME}/isst/product.py", json.dumps(writes)]
        environment = {"PYTHONPATH": f"{HOME}/agent:/opt/site"}
        done = self.guest.run(argv, env=environment, timeout=SECONDS).check()
        answers: list[dict[str, str | None]] = json.loads(done.stdout)
        return answers

    def write(self, writes: list[Write]) -> None:
        """Let the product write all of it; every one must be taken, and read back as written."""
        answers = self.product(writes)
        assert answers == [{"outcome": Outcome.OK.value, "text": text} for _, _, text in writes]


@pytest.fixture(scope="module")
def program() -> Path:
    return tool()


# For the whole module, so that pytest puts the tests of each machine together and there is one guest at a time.
@pytest.fixture(scope="module", params=[MMIO, MAILBOX, TPMI], ids=lambda machine: machine["generation"])
def bench(request: pytest.FixtureRequest, guest_image: Image, program: Path) -> Iterator[tuple[Bench, dict[str, Any]]]:
    """A guest and the machine that its device shall be."""
    qemu = processor(*PROCESSORS[request.param["generation"]])
    with Machine(guest_image, cpus=8, arguments=KERNEL_ARGUMENTS, qemu=qemu, memory_mb=768) as guest:
        yield Bench(guest, Emulator(guest), Tool(guest, program)), request.param


def described(machine: dict[str, Any]) -> MachineDescription:
    arguments = {name: value for name, value in machine.items() if name != "generation"}
    return describe(Generation(machine["generation"]), **arguments)


def domains(machine: dict[str, Any]) -> list[str]:
    """``PACKAGE/DOMAIN`` of all power domains, also those without cores."""
    found = described(machine)
    return [f"{package}/{domain}" for package in range(found.packages) for domain in found.domains]


def without_cores(machine: dict[str, Any]) -> list[str]:
    cores = {f"{core.package}/{core.domain}" for core in described(machine).cores}
    return [each for each in domains(machine) if each not in cores]


def differences(first: Registers, second: Registers) -> dict[str, tuple[int | str | None, int | str | None]]:
    names = {*first, *second}
    return {name: (first.get(name), second.get(name)) for name in sorted(names) if first.get(name) != second.get(name)}


def test_the_tool_reads_the_machine_as_described(bench: tuple[Bench, dict[str, Any]]) -> None:
    """An independent reader of the model: buckets, clip, base frequencies and classes come out where they were put."""
    guest, machine = bench
    guest.begin(machine, {"1/0/clos/2": 0x0019_0850})
    level = described(machine).levels[0]
    assert level is not None
    assert level.turbo is not None
    assert level.basic is not None
    turbo, base = guest.said("-c", "2", "turbo-freq", "info", "-l", "0"), guest.said("base-freq", "info", "-l", "0")
    for count, ratio in zip(level.turbo.counts, level.turbo.ratios[0], strict=True):
        assert (f"high-priority-cores-count:{count}\n" in turbo) == bool(count)
        first = "level-0-" if machine is TPMI else ""
        assert (f"high-priority-max-{first}frequency(MHz):{ratio * 100}\n" in turbo) == bool(ratio)
    assert f"frequency(MHz):{level.turbo.clip[0] * 100}\n" in turbo
    assert f"high-priority-base-frequency(MHz):{level.basic.high * 100}\n" in base
    assert f"low-priority-base-frequency(MHz):{level.basic.low * 100}\n" in base
    told = guest.said("-c", "2", "core-power", "get-config", "-c", "2")
    assert "clos:2" in told
    assert "clos-proportional-priority:5\n" in told
    assert "clos-min:800 MHz\n" in told
    assert "clos-max:2500 MHz\n" in told


def test_enable_core_power(bench: tuple[Bench, dict[str, Any]]) -> None:
    """Ordered core power on all packages; other bits of the mailbox's word stay as they were found."""
    guest, machine = bench
    found = {} if machine is TPMI else {"0/0/qos": 0b1001}
    guest.begin(machine, found)
    before = guest.emulator.registers()
    assert "enable:success" in guest.said("core-power", "enable", "-p", "1")
    expected = guest.emulator.registers()
    guest.begin(machine, found)
    guest.write([(Knob.CORE_POWER, str(package), "ordered") for package in range(2)])
    assert differences(guest.emulator.registers(), expected) == {}
    assert {name for name in differences(before, expected) if name.endswith("core-power")} == {
        f"{each}/core-power" for each in domains(machine)
    }


def test_configure_a_class(bench: tuple[Bench, dict[str, Any]]) -> None:
    """
    Floor, ceiling and weight of a class in every power domain that has cores.

    On Cooper Lake the tool takes neither weight nor EPP and writes 15 for both. With TPMI it writes the class into I/O
    dies as well, and the product does where it is told to.
    """
    guest, machine = bench
    guest.begin(machine, {})
    before = guest.emulator.registers()
    options = [] if machine is MAILBOX else ["-w", "9"] + (["-e", "6"] if machine is MMIO else [])
    said = guest.said("core-power", "config", "-c", "3", "-n", "900", "-m", "2100", *options)
    assert "config:success" in said
    expected = guest.emulator.registers()
    guest.begin(machine, {})
    text = {
        "mmio": "prio=9 min=900 max=2100 epp=6 desired=0",
        "mailbox": "prio=15 min=900 max=2100 epp=15 desired=0",
        "tpmi": "prio=9 min=900 max=2100",
    }[machine["generation"]]
    guest.write([(Knob.CLOS_PARAMETERS, f"{each}/3", text) for each in domains(machine)])
    assert differences(guest.emulator.registers(), expected) == {}
    assert set(differences(before, expected)) == {f"{each}/clos/3" for each in domains(machine)}


def test_associate_a_core(bench: tuple[Bench, dict[str, Any]]) -> None:
    """
    The core of a CPU goes into a class, and no other.

    Before TPMI the tool writes the whole word, and with it 0 into the core's RMID; the product keeps that.
    """
    guest, machine = bench
    core = described(machine).core_of(3)
    assert core is not None
    name = f"{core.package}/{core.domain}/assoc/{core.core}"
    found = {} if machine is TPMI else {name: 5}
    guest.begin(machine, found)
    before = guest.emulator.registers()
    assert "assoc:success" in guest.said("-c", "3", "core-power", "assoc", "-c", "2")
    expected = guest.emulator.registers()
    guest.begin(machine, found)
    guest.write([(Knob.CLOS_ASSOCIATION, name.replace("/assoc", ""), "2")])
    rmid = {} if machine is TPMI else {name: (2 << 16 | 5, 2 << 16)}
    assert differences(guest.emulator.registers(), expected) == rmid
    assert set(differences(before, expected)) == {name}


def test_enable_turbo_frequency(bench: tuple[Bench, dict[str, Any]]) -> None:
    """
    On, with the ordinary turbo limits out of its way, and base frequency as it was.

    With TPMI the tool turns it on in I/O dies as well, where there is nobody to favour; the product leaves them alone.
    """
    guest, machine = bench
    guest.begin(machine, {})
    assert "enable:success" in guest.said("turbo-freq", "enable")
    expected = guest.emulator.registers()
    guest.begin(machine, {})
    packages = [str(package) for package in range(2)]
    guest.write(
        [(Knob.CORE_POWER, each, "ordered") for each in packages]
        + [(Knob.TURBO_FREQUENCY, each, "on") for each in packages]
        + [(Knob.TURBO_LIMITS, each, f"{ALL_ONES:016x}") for each in packages]
    )
    bare = without_cores(machine)
    assert differences(guest.emulator.registers(), expected) == {f"{each}/features": (0, 2) for each in bare}
    assert len(bare) == (2 if machine is TPMI else 0)
    assert expected["1/0/features"] == 2
    assert expected["1/msr/0x1ad"] == ALL_ONES


def test_disable_turbo_frequency_and_core_power(bench: tuple[Bench, dict[str, Any]]) -> None:
    """
    Back as it was found.

    The tool puts back the turbo limits of the level, whatever they were before it came; and before TPMI it clears the
    priority type with the switch. The product puts back what it found.
    """
    guest, machine = bench
    odd = 0x2020202020202020
    found = {"0/msr/0x1ad": odd} if machine is TPMI else {"0/msr/0x1ad": odd, "0/0/qos": 0b100}
    guest.begin(machine, found)
    before = guest.emulator.registers()
    guest.said("turbo-freq", "enable")
    guest.said("turbo-freq", "disable")
    guest.said("core-power", "disable")
    expected = guest.emulator.registers()
    guest.begin(machine, found)
    packages = [str(package) for package in range(2)]
    level = described(machine).levels[0]
    assert level is not None
    limits = packed(level.limits[0])
    core_power = "off" if machine is TPMI else "off type=ordered"
    guest.write(
        [(Knob.CORE_POWER, each, "ordered") for each in packages]
        + [(Knob.TURBO_FREQUENCY, each, "on") for each in packages]
        + [(Knob.TURBO_LIMITS, each, f"{ALL_ONES:016x}") for each in packages]
        + [(Knob.TURBO_FREQUENCY, each, "off") for each in packages]
        + [(Knob.TURBO_LIMITS, each, f"{(odd, limits)[int(each)]:016x}") for each in packages]
        + [(Knob.CORE_POWER, "0", core_power), (Knob.CORE_POWER, "1", "off")]
    )
    after = guest.emulator.registers()
    assert differences(after, before) == {}
    wrong: dict[str, tuple[int, int]] = {"0/msr/0x1ad": (odd, limits)}
    if machine is not TPMI:
        # Cooper Lake's core power is always ordered, so there the tool leaves the type set.
        wrong |= {"1/0/qos": (0, 4)} if machine is MAILBOX else {"0/0/qos": (4, 0)}
    assert differences(after, expected) == wrong


@pytest.mark.parametrize("adjacent", [True, False], ids=["adjacent", "split"])
def test_the_tool_forgets_a_sibling(bench: tuple[Bench, dict[str, Any]], adjacent: bool) -> None:
    """
    ``--auto`` shall give the named CPU's core high priority and all others low.

    Where siblings are numbered one after another the tool reads ``0-1`` as CPU 0 alone, gives the core's register to
    CPU 1's class last, and the core ends up low. The product writes by core.
    """
    guest, machine = bench
    chosen = {**machine, "adjacent": adjacent}
    guest.begin(chosen, {})
    guest.said("-c", "0", "turbo-freq", "enable", "-a")
    expected = guest.emulator.registers()
    guest.begin(chosen, {})
    cores = described(chosen).cores
    classes = {f"{core.package}/{core.domain}/{core.core}": "0" if 0 in core.cpus else "3" for core in cores}
    guest.write([(Knob.CLOS_ASSOCIATION, address, clos) for address, clos in classes.items()])
    after = guest.emulator.registers()
    low = 3 if machine is TPMI else 3 << 16
    assert after["0/0/assoc/0"] == 0
    found = {name: each for name, each in differences(after, expected).items() if "/assoc/" in name}
    assert found == ({"0/0/assoc/0": (0, low)} if adjacent else {})


def test_core_power_stays_on_under_turbo_frequency(bench: tuple[Bench, dict[str, Any]]) -> None:
    """
    On hardware that takes everything, with turbo frequency on in one package: the product refuses to turn core power
    off there.

    The tool refuses before TPMI, and turns it off in the other package all the same; with TPMI it does not refuse.
    """
    guest, machine = bench
    guest.begin(machine, {}, interlocked=False)
    guest.said("core-power", "enable", "-p", "1")
    for each in domains(machine):
        if each.startswith("0/"):
            guest.emulator.poke(f"{each}/features", 2)
    before = guest.emulator.registers()
    answers = guest.product([(Knob.CORE_POWER, "0", "off")])
    assert answers == [{"outcome": Outcome.REJECTED.value, "text": "ordered"}]
    assert differences(guest.emulator.registers(), before) == {}
    guest.said("core-power", "disable")
    after = guest.emulator.registers()
    off = {each for each in domains(machine) if after[f"{each}/core-power"] == "off"}
    assert off == ({*domains(machine)} if machine is TPMI else {"1/0"})
