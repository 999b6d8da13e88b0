"""How fast the simulated machine's CPUs run, by what stands in its registers."""

from __future__ import annotations

import pytest

from plimsoll.simulator.speed_select_frequency import effective_mhz
from plimsoll.simulator.speed_select_hardware import (
    CONFIG_TDP_CONTROL,
    QOS_ENABLE,
    QOS_ORDERED,
    TURBO_FREQUENCY,
    TURBO_RATIO_LIMIT,
    Hardware,
)
from plimsoll.simulator.speed_select_machine import Generation, MachineDescription, describe

LOW = 3


def machine(generation: Generation = Generation.MMIO) -> MachineDescription:
    """Two packages of eight cores: buckets of turbo frequency for 2, 4 and 6 cores at 4600, 4300 and 4000 MHz."""
    return describe(generation, packages=2, cores=8, domains=1)


def associate(hardware: Hardware, cpu: int, clos: int) -> None:
    core = hardware.machine.core_of(cpu)
    assert core is not None
    shift = 0 if hardware.machine.generation is Generation.TPMI else 16
    hardware.domains[core.package, core.domain].assoc[core.core] = clos << shift


def prioritise(hardware: Hardware, low: int, *, ceiling: int = 0xFF) -> None:
    """Turn core power on everywhere, with the first ``low`` CPUs in the low class."""
    for domain in hardware.domains.values():
        domain.clos[LOW] = ceiling << 16
        assert hardware.set_core_power(domain, enabled=True, ordered=True, qos=QOS_ENABLE | QOS_ORDERED)
    for cpu in range(low):
        associate(hardware, cpu, LOW)


@pytest.mark.parametrize("busy", [{0}, {0, 16}])
def test_fewer_busy_cores_are_faster(busy: set[int]) -> None:
    """The ordinary turbo table counts busy cores of the package, not CPUs and not the other package's."""
    hardware = Hardware(machine())
    assert effective_mhz(hardware, 0, busy=busy) == 3800
    assert effective_mhz(hardware, 0, busy={*range(8)}) == 3200
    assert effective_mhz(hardware, 0) == 3200
    assert effective_mhz(hardware, 0, busy={*range(8, 16)}) == 3800
    with pytest.raises(ValueError, match="no CPU 32"):
        effective_mhz(hardware, 32)


@pytest.mark.parametrize("generation", list(Generation))
def test_a_class_limits_only_while_core_power_is_on(generation: Generation) -> None:
    """A core in the low class runs at the class's ceiling with both its threads; before the switch, and after, not."""
    hardware = Hardware(machine(generation))
    for domain in hardware.domains.values():
        domain.clos[LOW] = 20 << 16
    associate(hardware, 1, LOW)
    assert effective_mhz(hardware, 1) == 3200
    prioritise(hardware, 0, ceiling=20)
    assert [effective_mhz(hardware, cpu) for cpu in (0, 1, 17)] == [3200, 2000, 2000]
    for domain in hardware.domains.values():
        hardware.set_core_power(domain, enabled=generation is not Generation.TPMI, ordered=False, qos=QOS_ORDERED)
        if generation is Generation.TPMI:
            domain.enabled = False
    assert effective_mhz(hardware, 1) == 3200


@pytest.mark.parametrize(("low", "expected"), [(6, 4600), (5, 4300), (4, 4300), (2, 4000), (1, 3200), (0, 3200)])
def test_turbo_frequency_by_cores_of_high_priority(low: int, expected: int) -> None:
    """Every associated core fills a bucket, idle or not; beyond the last bucket the all-core ratio is left."""
    hardware = Hardware(machine())
    prioritise(hardware, low)
    hardware.msrs[0][TURBO_RATIO_LIMIT] = 2**64 - 1
    assert hardware.set_features(hardware.domains[0, 0], TURBO_FREQUENCY)
    assert effective_mhz(hardware, 7, busy={7}) == expected
    if low:
        assert effective_mhz(hardware, 0, busy={0}) == 2600
    assert effective_mhz(hardware, 15, busy={15}) == 3800  # the other package has it off


def test_the_turbo_limits_stay_in_force_under_turbo_frequency() -> None:
    """Without raising MSR 0x1AD the ordinary table still holds the cores of high priority down."""
    hardware = Hardware(machine())
    prioritise(hardware, 6)
    assert hardware.set_features(hardware.domains[0, 0], TURBO_FREQUENCY)
    assert effective_mhz(hardware, 7) == 3200
    hardware.msrs[0][TURBO_RATIO_LIMIT] = 2**64 - 1
    assert effective_mhz(hardware, 7) == 4600


def test_cpufreq_limits_the_core_by_its_fastest_thread() -> None:
    """A thread gets what its sibling may have; a limit below the lowest frequency is the lowest."""
    hardware = Hardware(machine())
    assert effective_mhz(hardware, 0, limits={0: 2000}) == 2000
    assert effective_mhz(hardware, 0, limits={0: 2000, 16: 2500}) == 2500
    assert effective_mhz(hardware, 0, limits={0: 100, 16: 100}) == 800
    assert effective_mhz(hardware, 1, limits={0: 2000}) == 3200


def test_a_lower_level_is_slower() -> None:
    """A change of performance level changes the tables."""
    hardware = Hardware(machine())
    assert hardware.set_level(0, hardware.domains[0, 0], 1)
    assert hardware.msrs[0][CONFIG_TDP_CONTROL] == 1
    assert [effective_mhz(hardware, cpu) for cpu in (0, 15)] == [2900, 3200]
