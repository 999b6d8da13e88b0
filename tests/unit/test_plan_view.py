"""What `plimsoll plan` says beside each write: what two policies want of one knob, and which of them gets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from plimsoll.actor import Actor
from plimsoll.config.schema import Config
from plimsoll.kernel.cgroup import Hierarchies
from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.speed_select import SpeedSelect
from plimsoll.model.acting import Mode
from plimsoll.model.plan import Knob, Write, cgroup
from plimsoll.plan_view import plan_facts, plan_lines
from plimsoll.policies import registry
from plimsoll.policies.policy import Decision, Policy
from plimsoll.policies.registry import Enrolled
from tests import acting
from tests.fixtures.colocated import path, sample, snapshot
from tests.fixtures.hosts import trees


def weighs(name: str, value: str, mode: Mode) -> Enrolled:
    write = Write(cgroup(path(1)), Knob.CPU_WEIGHT, value, name, "why")
    knobs = frozenset({Knob.CPU_WEIGHT})
    return Enrolled(Policy(name, 0.0, (), knobs, None, lambda *_: Decision((write,), None)), mode, None)


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.OBSERVE])
def test_what_two_policies_want_is_arbitrated_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    """The policy that comes first has it, whatever the mode; the other's wish is named, as lines and as JSON."""
    tree = trees.proc() | {f"{acting.STATE}/": "", f"{trees.CGROUP}/cgroup.controllers": "cpu memory\n"}
    root = trees.write(tmp_path, tree | trees.below(f"{trees.CGROUP}/{path(1)}", dict(acting.KNOB_FILES)))
    monkeypatch.setattr(registry, "configured", lambda _: (weighs("first", "7", mode), weighs("second", "3", mode)))
    with HostFs(str(root)) as host, Hierarchies.detect(host) as hierarchies:
        actor = Actor(host, hierarchies, SpeedSelect(host), acting.STATE, Config(), read_only=True)
        found = actor.act(snapshot((sample(1),)))
        actor.close()

    lines = list(plan_lines(found))
    assert f"{mode:7}  {path(1)}  cpu.weight: 100 -> 7" in lines
    assert f"conflict  {path(1)}  cpu.weight: first wins with 7, second wanted 3" in lines
    [conflict] = plan_facts(found)["conflicts"]  # type: ignore[misc]
    assert (conflict["kept"]["policy"], conflict["kept"]["value"]) == ("first", "7")  # type: ignore[index]
    assert (conflict["dropped"]["policy"], conflict["dropped"]["value"]) == ("second", "3")  # type: ignore[index]
