"""openEuler's memory.swapfile with its switch turned off meanwhile: nobody is let on where nobody can be kept off."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from plimsoll.actuators.applier import Applier
from plimsoll.actuators.journal import Journal
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.knob import Knobs
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Plan
from plimsoll.model.pod import Priority
from plimsoll.policies.overcommit_swap import swapfile_writes
from tests.fixtures.colocated import sample
from tests.fixtures.hosts import trees
from tests.fixtures.hosts.faults import Faults

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = "/dev/vdb"


def test_a_refused_write_keeps_the_others_from_the_device(tmp_path: Path) -> None:
    """EACCES for the pod that is to be kept off: it is told, and the low-priority one is not tried."""
    online, low = sample(2, Priority.HIGH), sample(3, Priority.LOW)
    memory = f"{trees.CGROUP}/memory"
    tree: trees.Tree = {f"{memory}/memory.usage_in_bytes": "1\n"}
    for each in (online, low):
        for cgroup in (each.cgroup or "", *each.container_cgroups):
            tree |= trees.below(f"{memory}/{cgroup}", {"memory.swapfile": "all\n"})
    trees.write(tmp_path, tree)
    (tmp_path / "run").mkdir()
    refused = Faults({("write", "/memory.swapfile"): errno.EACCES})
    plan = Plan(tuple(swapfile_writes([online], [low], DEVICE, "overcommit")))
    with (
        HostFs(str(tmp_path), fault=refused) as host,
        Hierarchies.detect(host) as hierarchies,
        Journal.open(str(tmp_path / "run"), "boot") as journal,
    ):
        applier = Applier(
            Knobs(host, hierarchies), journal, clock=lambda: 0.0, random=lambda: 0.5, pause=lambda _: None
        )
        results = {each.write.target.path: each for each in applier.execute(plan)}
        denied, held = results[online.cgroup or ""], results[low.cgroup or ""]
        assert (denied.outcome, denied.errno) == (Outcome.DENIED, errno.EACCES)
        assert held.outcome is Outcome.HELD
    assert {each.read_text() for each in (tmp_path / memory).rglob("memory.swapfile")} == {"all\n"}
