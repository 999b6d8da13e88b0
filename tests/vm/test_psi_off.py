"""A stock kernel with pressure turned off at boot: absent with its reason, never zero."""

from __future__ import annotations

import pytest

from tests.vm.agent import Agent
from tests.vm.exposition import Page
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.pods import Pod

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

PSI = ("psi-cpu", "psi-memory", "psi-io", "psi-irq")


# The cgroups have no pressure files either way; with the second the node's own pressure is measured all the same.
@pytest.mark.parametrize(("argument", "node"), [("psi=0", False), ("cgroup_disable=pressure", True)])
def test_pressure_that_is_off_is_absent(guest_image: Image, argument: str, node: bool) -> None:
    """Whichever way the kernel says no, pods are found, their memory is known, and no pressure is made up."""
    with Machine(guest_image, arguments=(argument,)) as guest:
        agent = Agent(guest)
        pod = Pod(guest, 1, "one")
        pod.start()
        pod.wait()
        files = guest.sh(f"ls /sys/fs/cgroup/{pod.slice_path}").split()
        found = agent.doctor()
        page = Page(agent.metrics())

    assert "memory.current" in files
    assert "memory.pressure" not in files
    assert {name: found[name]["reason"] for name in PSI if not found[name]["available"]} == dict.fromkeys(
        PSI, "psi-disabled"
    )
    assert all(argument in found[name]["detail"] for name in PSI)
    assert found["psi-node"]["available"] is node
    assert page.value("plimsoll_pod_info", pod="one", state="found") == 1
    assert page.value("plimsoll_pod_memory_bytes", pod="one") > 0
    assert page.series("plimsoll_pod_pressure_waiting_seconds_total") == []
    assert page.series("plimsoll_pod_pressure_ratio") == []
    assert bool(page.series("plimsoll_node_pressure_waiting_seconds_total")) is node
    # A capability explains it: it is no error.
    assert page.series("plimsoll_read_errors_total") == []
    assert page.value("plimsoll_capability", capability="psi-memory", reason="psi-disabled") == 0
