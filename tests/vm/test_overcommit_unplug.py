"""The swap disk pulled out of the running machine: nobody can put that right before a restart, and all else goes on."""

from __future__ import annotations

import pytest

from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.offloading import SERIAL, Node, asked, paused, ticks

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]


def test_a_device_in_use_is_pulled_out(guest_image: Image) -> None:
    """
    Out of the machine, with memory on it: said, and nothing more is asked for. The kernel does not let go of it, so
    all pods are kept off; who had nothing on it lives on; in the end all limits are put back.
    """
    with Machine(guest_image, kernel="6.12", swap_mb=128) as guest:
        node = Node(guest)
        with node.holding(node.batch, 16, 100, mortal=True), node.enforcing(ratio=1.5):
            node.reclaiming()
            guest.unplug(SERIAL)
            page = node.until(lambda page: paused(page) == {"no-device"}, "it is seen")
            swaps = guest.sh("cat /proc/swaps")
            node.batch.wait_for("memory.swap.max", "0")
            # Somebody opens them all.
            guest.sh("systemctl daemon-reload")
            for pod in (node.batch, node.service):
                pod.wait_for("memory.swap.max", "0")
            later = node.until(lambda now: ticks(now) > ticks(page) + 5, "it goes on")
        # Of the low-priority pod a page may have been lost that it needs.
        alive = guest.sh(f"systemctl is-active {node.service.scope}").strip()
    assert "(deleted)" in swaps
    assert alive == "active"
    reasons = {labels["reason"]: value for labels, value in later.series("plimsoll_swap_dedicated")}
    assert reasons == {"device-removed": 0, "device-missing": 0}
    assert asked(later) == asked(page)
    assert later.value("plimsoll_source_up", source="kernel") == 1
