"""The registers that may be written, on a model of each generation: exact reading, writing, restoring, refusing."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.registers import REGISTERS, Registers
from plimsoll.kernel.isst.state import CorePower
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob
from plimsoll.simulator import speed_select_fault as faults
from plimsoll.simulator.speed_select import SpeedSelect
from plimsoll.simulator.speed_select_kernel import Kernel
from plimsoll.simulator.speed_select_machine import Generation, describe
from tests.isst import GENERATIONS, Rig, host, large_host, rig

# Turbo-freq first, core-power last: what hardware allows in both directions.
_RESTORE_ORDER = (
    Knob.TURBO_FREQUENCY,
    Knob.TURBO_LIMITS,
    Knob.CLOS_ASSOCIATION,
    Knob.CLOS_PARAMETERS,
    Knob.CORE_POWER,
)
_OK = (Outcome.OK, 0)
_UNIT = "1/0/4"
_CLASS = "1/0/3"


@pytest.fixture(params=GENERATIONS, ids=lambda each: each.value)
def node(request: pytest.FixtureRequest, folders: Path) -> Rig:
    return rig(folders / request.param.value, request.param)


@pytest.fixture
def tpmi(folders: Path) -> Rig:
    return rig(folders / Generation.TPMI.value, Generation.TPMI)


def _tpmi(node: Rig) -> bool:
    return node.model.machine.generation is Generation.TPMI


def _param(node: Rig, text: str) -> str:
    return text if _tpmi(node) else f"{text} epp=0 desired=0"


def _text(node: Rig, knob: Knob, address: str) -> str:
    reading = node.registers.read(knob, address)
    assert reading.outcome is Outcome.OK, reading
    text = reading.text()
    assert text is not None
    assert text.endswith("\n")
    return text.removesuffix("\n")


def _all(node: Rig) -> dict[tuple[Knob, str], str]:
    found = {}
    for knob in sorted(REGISTERS):
        for address, reading in node.registers.read_all(knob).items():
            assert reading.outcome is Outcome.OK, (knob, address, reading)
            found[knob, address] = (reading.text() or "").removesuffix("\n")
    return found


def _changed(before: Mapping[str, int | str], after: Mapping[str, int | str]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def _writes(node: Rig) -> list[str]:
    return [command.register for each in node.model.log for command, _ in each.commands if command.write]


def test_reading_one_and_reading_all_say_the_same(node: Rig) -> None:
    """Every address of every kind, alone and in its batch; the kinds are complete; nothing is written."""
    found = _all(node)
    assert {knob for knob, _ in found} == REGISTERS
    for (knob, address), text in found.items():
        assert _text(node, knob, address) == text
    units = {unit.name for unit in node.platform.units}
    assert {address for knob, address in found if knob is Knob.CLOS_ASSOCIATION} == units
    classes = {f"{domain.name}/{clos}" for domain in node.platform.domains for clos in range(4)}
    assert {address for knob, address in found if knob is Knob.CLOS_PARAMETERS} == classes
    assert {address for knob, address in found if knob is Knob.CORE_POWER} == {"0", "1"}
    assert _writes(node) == []


def test_a_machine_after_reset_is_spelled_plainly(node: Rig) -> None:
    """Everybody in class 0 without limits, core-power and turbo-freq off, limits as in the description."""
    assert _text(node, Knob.CLOS_ASSOCIATION, _UNIT) == "0"
    assert _text(node, Knob.CLOS_PARAMETERS, _CLASS) == _param(node, "prio=0 min=0 max=none")
    assert _text(node, Knob.CORE_POWER, "0") == "off"
    assert _text(node, Knob.TURBO_FREQUENCY, "1") == "off"
    assert _text(node, Knob.TURBO_LIMITS, "1") == f"{node.model.hardware.msrs[1][0x1AD]:016x}"


def test_a_write_changes_its_register_and_no_other(node: Rig) -> None:
    """In order: each reads back as written, and of the hardware's registers only the addressed one changed."""
    cases = [
        (Knob.CLOS_ASSOCIATION, _UNIT, "3", {"1/0/assoc/4"}),
        (Knob.CLOS_PARAMETERS, _CLASS, _param(node, "prio=15 min=800 max=2000"), {"1/0/clos/3"}),
        (Knob.CORE_POWER, "1", "proportional", {"1/0/core-power", "1/0/qos"}),
        (Knob.CORE_POWER, "1", "ordered", {"1/0/core-power", "1/0/qos"}),
        (Knob.TURBO_FREQUENCY, "1", "on", {"1/0/features"}),
        (Knob.TURBO_LIMITS, "1", "ffffffffffffffff", {"1/msr/0x1ad"}),
        (Knob.TURBO_FREQUENCY, "1", "off", {"1/0/features"}),
        (Knob.CORE_POWER, "1", "off", {"1/0/core-power", "1/0/qos"}),
    ]
    for knob, address, text, registers in cases:
        before = node.state()
        assert node.registers.write(knob, address, text) == _OK, (knob, text)
        assert _text(node, knob, address) == text
        changed = _changed(before, node.state())
        expected = registers
        if _tpmi(node) and knob in (Knob.CORE_POWER, Knob.TURBO_FREQUENCY):
            # One setting of the package, in each of its power domains; features are of those with cores.
            domains = ("0", "2", "3") if knob is Knob.CORE_POWER else ("0", "2")
            expected = {f"1/{d}/{name.rpartition('/')[2]}" for d in domains for name in registers if "qos" not in name}
        assert changed == expected


def test_parameters_are_in_the_registers_own_units(node: Rig) -> None:
    """Class 3 with a floor of 800 MHz, a ceiling of 2,000 MHz and the lowest weight, as one word of ratios."""
    assert node.registers.write(Knob.CLOS_PARAMETERS, _CLASS, _param(node, "prio=15 min=800 max=2000")) == _OK
    assert node.state()["1/0/clos/3"] == 0x0014_08F0


def test_bits_that_are_not_ours_stay(folders: Path) -> None:
    """An RMID beside the class, and energy reporting and out-of-band priority beside core-power's switches."""
    for generation in (Generation.MAILBOX, Generation.MMIO):
        node = rig(folders / generation.value, generation)
        domain = node.model.hardware.domains[1, 0]
        domain.assoc[4], domain.qos = 0xABC1_0007, 0x9
        assert _text(node, Knob.CLOS_ASSOCIATION, _UNIT) == "1"
        assert node.registers.write(Knob.CLOS_ASSOCIATION, _UNIT, "3") == _OK
        assert node.registers.write(Knob.CORE_POWER, "1", "ordered") == _OK
        assert domain.assoc[4] == 0xABC3_0007
        assert domain.qos == 0xF


def test_turbo_freq_leaves_base_freq_alone(node: Rig) -> None:
    """One word, or one request, sets both features: base-freq is as it was after turbo-freq went on and off."""
    assert node.registers.write(Knob.CORE_POWER, "0", "ordered") == _OK
    for domain in node.model.hardware.domains.values():
        domain.features = 0
    first = node.model.hardware.domains[0, 0]
    bits = {}
    for base in (False, True):
        for text in ("on", "off"):
            if base:
                first.features |= bits["base"]
            assert node.registers.write(Knob.TURBO_FREQUENCY, "0", text) == _OK
            bits[base, text] = first.features
        # Whichever bit turbo-freq does not have.
        bits.setdefault("base", 3 & ~bits[False, "on"])
    assert bits[False, "off"] == 0
    assert bits[True, "off"] == bits["base"]
    assert bits[True, "on"] == bits[False, "on"] | bits["base"] == 3


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda each: each.value)
def test_core_power_never_goes_off_under_turbo_freq(folders: Path, generation: Generation) -> None:
    """Hardware that would take anything: turbo-freq needs core-power on, and core-power then stays. Nothing is sent."""
    node = rig(folders / generation.value, generation, interlocked=False)
    refused = (Outcome.REJECTED, 0)
    assert node.registers.write(Knob.TURBO_FREQUENCY, "0", "on") == refused
    assert node.registers.write(Knob.CORE_POWER, "0", "ordered") == _OK
    assert node.registers.write(Knob.TURBO_FREQUENCY, "0", "on") == _OK
    node.model.log.clear()
    before = node.state()
    assert node.registers.write(Knob.CORE_POWER, "0", "off") == refused
    if not _tpmi(node):
        assert node.registers.write(Knob.CORE_POWER, "0", "ordered clos=off") == refused
    assert node.state() == before
    assert _writes(node) == []
    assert node.registers.write(Knob.CORE_POWER, "0", "proportional") == _OK
    assert node.registers.write(Knob.CORE_POWER, "1", "off") == _OK
    assert node.registers.write(Knob.TURBO_FREQUENCY, "0", "off") == _OK
    assert node.registers.write(Knob.CORE_POWER, "0", "off") == _OK


def test_core_power_stays_while_nobody_can_say_whether_turbo_freq_is_on(folders: Path) -> None:
    """A mailbox that stays busy is no sign that turbo-freq is off: the failure is the answer."""
    node = rig(folders / Generation.MMIO.value, Generation.MMIO)
    assert node.registers.write(Knob.CORE_POWER, "0", "ordered") == _OK
    node.model.faults.append(faults.busy(times=4))
    assert node.registers.write(Knob.CORE_POWER, "0", "off") == (Outcome.BUSY, errno.EBUSY)
    assert _text(node, Knob.CORE_POWER, "0") == "ordered"


def test_core_power_without_performance_levels_can_go_off(folders: Path) -> None:
    """A machine whose firmware knows no levels has no turbo-freq that could be in the way."""
    node = rig(folders / Generation.MAILBOX.value, Generation.MAILBOX)
    assert node.registers.write(Knob.CORE_POWER, "0", "ordered") == _OK
    none = faults.Fault(lambda command: command.register.startswith("info/7f/00"), error=errno.ENXIO, times=None)
    node.model.faults.append(none)
    assert node.registers.write(Knob.CORE_POWER, "0", "off") == _OK
    assert _text(node, Knob.CORE_POWER, "0") == "off"


def test_domains_that_differ_are_listed_and_put_back(tpmi: Rig) -> None:
    """A package that was found half on is spelled domain by domain, and gets just that back."""
    hardware = tpmi.model.hardware
    hardware.domains[0, 2].enabled = hardware.domains[0, 2].ordered = hardware.domains[0, 3].ordered = True
    found = _text(tpmi, Knob.CORE_POWER, "0")
    assert found == "0: off, 2: ordered, 3: off type=ordered"
    before = tpmi.state()
    assert tpmi.registers.write(Knob.CORE_POWER, "0", "ordered") == _OK
    assert _text(tpmi, Knob.CORE_POWER, "0") == "ordered"
    assert tpmi.registers.write(Knob.CORE_POWER, "0", found) == _OK
    assert tpmi.state() == before
    assert _text(tpmi, Knob.CORE_POWER, "0") == found


def test_a_switch_that_follows_late_is_waited_for(folders: Path) -> None:
    """TPMI reads its status and writes its control register: the next read after a write shows what was written."""
    node = rig(folders / Generation.TPMI.value, Generation.TPMI, kernel=Kernel(lag=3))
    assert node.registers.write(Knob.CORE_POWER, "0", "ordered") == _OK
    assert _text(node, Knob.CORE_POWER, "0") == "ordered"
    assert node.pauses


def test_one_domain_that_refuses_does_not_keep_the_others(tpmi: Rig) -> None:
    """The first failure is the answer, and the reading tells which domains did what."""
    refusal = faults.Fault(lambda command: command.write and command.domain == 2, error=errno.EPERM, times=None)
    tpmi.model.faults.append(refusal)
    assert tpmi.registers.write(Knob.CORE_POWER, "0", "ordered") == (Outcome.REJECTED, errno.ENOTTY)
    assert _text(tpmi, Knob.CORE_POWER, "0") == "0: ordered, 2: off, 3: ordered"


def test_a_package_that_refuses_is_told_from_one_that_does_not(node: Rig) -> None:
    """EPERM on package 1: folded to a refusal by the kernel's TPMI driver, itself before. Package 0 takes it."""
    node.model.faults.append(faults.refused(1))
    outcome, code = node.registers.write(Knob.CLOS_ASSOCIATION, _UNIT, "3")
    assert (outcome, code) == ((Outcome.REJECTED, errno.ENOTTY) if _tpmi(node) else (Outcome.DENIED, errno.EPERM))
    assert _text(node, Knob.CLOS_ASSOCIATION, _UNIT) == "0"
    assert node.registers.write(Knob.CLOS_ASSOCIATION, "0/0/4", "3") == _OK
    assert _text(node, Knob.CLOS_ASSOCIATION, "0/0/4") == "3"


def test_a_lost_write_is_seen_by_reading_back(node: Rig) -> None:
    """Confirmed, and not done: OK says no more than that it was taken."""
    node.model.faults.append(faults.lost("assoc"))
    assert node.registers.write(Knob.CLOS_ASSOCIATION, _UNIT, "2") == _OK
    assert _text(node, Knob.CLOS_ASSOCIATION, _UNIT) == "0"
    assert node.registers.write(Knob.CLOS_ASSOCIATION, _UNIT, "2") == _OK
    assert _text(node, Knob.CLOS_ASSOCIATION, _UNIT) == "2"


def test_a_batch_that_stops_half_way_has_one_hole(node: Rig) -> None:
    """The sixth association fails for good: it alone is missing from the reading of all."""
    unit = node.platform.units[5]
    broken = f"assoc/{unit.core}"
    place = (unit.package, unit.domain)
    node.model.faults.append(
        faults.Fault(lambda c: c.register == broken and (c.package, c.domain) == place, error=errno.EIO, times=None)
        if _tpmi(node)
        else faults.Fault(lambda c: c.register == broken and c.package == place[0], error=errno.EIO, times=None)
    )
    readings = node.registers.read_all(Knob.CLOS_ASSOCIATION)
    assert {name for name, reading in readings.items() if reading.outcome is not Outcome.OK} == {unit.name}
    assert len(readings) == len(node.platform.units)


def test_a_device_that_fails_altogether_is_data(node: Rig) -> None:
    """After detection every command fails: each reading, each write and each question says so, and none raises."""
    found, before = _all(node), node.state()
    node.model.faults.append(faults.Fault(lambda _: True, error=errno.EIO, times=None))
    failed = {(Outcome.FAILED, errno.EIO), (Outcome.REJECTED, errno.ENOTTY)}
    for (knob, address), text in found.items():
        reading = node.registers.read(knob, address)
        assert reading.data is None
        assert (reading.outcome, reading.errno) in failed
        assert node.registers.write(knob, address, text) in failed | {(Outcome.REJECTED, 0)}
    binding, domain = node.platform.binding, node.platform.domains[0]
    answers = [
        *(ask(domain, 0) for ask in (binding.perf_level, binding.turbo_freq_info, binding.base_freq_info)),
        binding.set_core_power(domain, CorePower(supported=True, enabled=True, ordered=True, heeded=True)),
        binding.set_turbo_freq(domain, on=True),
        binding.set_turbo_ratio_limits(domain, 0),
    ]
    assert {(each.value, (each.outcome, each.errno) in failed) for each in answers} == {(None, True)}
    assert node.state() == before


def test_a_die_without_cpus_has_no_register_reached_through_one(tpmi: Rig) -> None:
    """Turbo ratio limits are an MSR: MISSING there, and nothing is sent."""
    domain = tpmi.platform.of_package(0)[-1]
    assert domain.cpu is None
    (limits,) = tpmi.platform.binding.turbo_ratio_limits([domain])
    assert (limits.value, limits.outcome) == (None, Outcome.MISSING)
    assert tpmi.platform.binding.set_turbo_ratio_limits(domain, 0).outcome is Outcome.MISSING
    assert tpmi.model.log == []


@pytest.mark.parametrize(
    ("knob", "address"),
    [
        (Knob.CLOS_ASSOCIATION, ""),
        (Knob.CLOS_ASSOCIATION, "0"),
        (Knob.CLOS_ASSOCIATION, "0/0"),
        (Knob.CLOS_ASSOCIATION, "0/1/0"),
        (Knob.CLOS_ASSOCIATION, "2/0/0"),
        (Knob.CLOS_ASSOCIATION, "0/3/0"),
        (Knob.CLOS_ASSOCIATION, "0/0/0/0"),
        (Knob.CLOS_ASSOCIATION, "0/0/-1"),
        (Knob.CLOS_ASSOCIATION, "0/0/0 "),
        (Knob.CLOS_PARAMETERS, "0/0/4"),
        (Knob.CLOS_PARAMETERS, "0/1/0"),
        (Knob.CORE_POWER, "2"),
        (Knob.CORE_POWER, "0/0"),
        (Knob.TURBO_LIMITS, "policy0"),
        (Knob.CPUSET_CPUS, "0"),
    ],
)
def test_an_address_that_is_not_there_is_never_sent(node: Rig, knob: Knob, address: str) -> None:
    """Other machines' addresses, domains that do not exist, dies without cores: MISSING, and no ioctl."""
    assert node.registers.read(knob, address) == (None, Outcome.MISSING, 0)
    assert node.registers.write(knob, address, "0") == (Outcome.MISSING, 0)
    assert node.model.log == []


@pytest.mark.parametrize(
    ("knob", "address", "text"),
    [
        (Knob.CLOS_ASSOCIATION, _UNIT, "4"),
        (Knob.CLOS_ASSOCIATION, _UNIT, "3\n"),
        (Knob.CLOS_PARAMETERS, _CLASS, "prio=16 min=0 max=none"),
        (Knob.CORE_POWER, "0", "on"),
        (Knob.CORE_POWER, "0", "0: ordered, 7: off"),
        (Knob.TURBO_FREQUENCY, "0", "1"),
        (Knob.TURBO_LIMITS, "0", "ff"),
    ],
)
def test_text_that_is_no_value_is_never_sent(node: Rig, knob: Knob, address: str, text: str) -> None:
    """EINVAL, as a kernel file would say, without an ioctl."""
    assert node.registers.write(knob, address, text) == (Outcome.REJECTED, errno.EINVAL)
    assert _writes(node) == []


def test_a_core_that_went_off_line_can_be_put_back(folders: Path, tmp_path: Path) -> None:
    """It is no unit any more, but its register is there: what a journal holds of it is written all the same."""
    for generation in GENERATIONS:
        node = rig(folders / generation.value, generation)
        assert node.registers.write(Knob.CLOS_ASSOCIATION, _UNIT, "3") == _OK
        gone = next(unit.cpus for unit in node.platform.units if unit.name == _UNIT)
        node.model.kernel.offline = gone
        with host(tmp_path / f"{generation.value}-later", node.model.machine, offline=gone) as files:
            later = Platform.detect(files, transport=node.model, pause=lambda _: None)
        assert isinstance(later, Platform)
        assert _UNIT not in {unit.name for unit in later.units}
        assert Registers(later).write(Knob.CLOS_ASSOCIATION, _UNIT, "0") == _OK
        assert node.model.hardware.class_of(1, 0, 4) == 0


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda each: each.value)
def test_a_large_machine_is_read_in_few_ioctls(tmp_path: Path, generation: Generation) -> None:
    """128 units: two ioctls of 64 associations in every generation."""
    cores, domains = (32, 2) if generation is Generation.TPMI else (64, 1)
    model = SpeedSelect(describe(generation, cores=cores, domains=domains, fused_off=frozenset()))
    with large_host(tmp_path, model.machine) as files:
        platform = Platform.detect(files, transport=model, pause=lambda _: None)
    assert isinstance(platform, Platform)
    model.log.clear()
    readings = Registers(platform).read_all(Knob.CLOS_ASSOCIATION)
    assert [len(each.commands) for each in model.log] == [64, 64]
    assert [reading.data for reading in readings.values()] == [b"0\n"] * 128


_CLOS = st.tuples(st.integers(0, 15), st.integers(0, 255), st.none() | st.integers(0, 254))
_WRITES = st.lists(
    st.one_of(
        st.tuples(st.just(Knob.CLOS_ASSOCIATION), st.integers(0, 99), st.sampled_from("0123")),
        st.tuples(st.just(Knob.CLOS_PARAMETERS), st.integers(0, 99), _CLOS),
        st.tuples(st.just(Knob.CORE_POWER), st.integers(0, 99), st.sampled_from(["off", "ordered", "proportional"])),
        st.tuples(st.just(Knob.TURBO_FREQUENCY), st.integers(0, 99), st.sampled_from(["on", "off"])),
        st.tuples(
            st.just(Knob.TURBO_LIMITS), st.integers(0, 99), st.integers(0, 2**64 - 1).map(lambda word: f"{word:016x}")
        ),
    ),
    max_size=30,
)
_BEFORE = st.tuples(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF), st.booleans(), st.integers(0, 0xF))


def _seeded(root: Path, generation: Generation, before: tuple[int, int, bool, int]) -> Rig:
    """A machine that somebody has used before: strange classes, an RMID, switches half on."""
    node = rig(root, generation)
    assoc, clos, enabled, qos = before
    for index, domain in enumerate(node.model.hardware.domains.values()):
        domain.enabled = enabled ^ (index == 1)
        if generation is Generation.TPMI:
            domain.assoc[4] = assoc & 3
            domain.clos[1] = clos & 0x00FF_FFF0
            domain.ordered = bool(qos & 4)
        else:
            domain.assoc[4], domain.clos[1], domain.qos = assoc, clos, qos
    return node


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda each: each.value)
@given(before=_BEFORE, writes=_WRITES)
@settings(max_examples=100)
def test_whatever_was_written_the_found_texts_put_every_bit_back(
    folders: Path,
    generation: Generation,
    before: tuple[int, int, bool, int],
    writes: list[tuple[Knob, int, str | tuple[int, ...]]],
) -> None:
    """
    Any machine, any writes, taken or refused; then every text found at the start: all registers are as they were.
    """
    node = _seeded(folders / generation.value, generation, before)
    start = node.state()
    found = _all(node)
    addresses = {knob: [address for each, address in found if each is knob] for knob in REGISTERS}
    for knob, number, value in writes:
        address = addresses[knob][number % len(addresses[knob])]
        outcome, _ = node.registers.write(knob, address, value if isinstance(value, str) else _spelled(node, value))
        assert outcome in (Outcome.OK, Outcome.REJECTED)
        if outcome is Outcome.OK and isinstance(value, str):
            assert _text(node, knob, address) == value
    for knob in _RESTORE_ORDER:
        for address in addresses[knob]:
            assert node.registers.write(knob, address, found[knob, address]) == _OK
    assert node.state() == start
    assert _all(node) == found


def _spelled(node: Rig, value: tuple[int, ...]) -> str:
    priority, minimum, maximum = value
    limit = "none" if maximum is None else 100 * maximum
    return _param(node, f"prio={priority} min={100 * minimum} max={limit}")
