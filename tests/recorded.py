"""
A recorded day of each kind of simulated node and one of overcommit, and what the policies are to want of them.

``python -m tests.recorded`` decides anew on the recordings there are, after a change of a policy that is meant: how the
``.decisions.jsonl`` files differ is what the change does to a day. With ``--record`` it records the days anew first,
after a change of the simulator or of the recordings' format.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from plimsoll.config.loader import parse_config
from plimsoll.config.schema import Config
from plimsoll.model.snapshot import Snapshot
from plimsoll.observer import Observer
from plimsoll.once import replay
from plimsoll.options import RECORD_BYTES, Options
from plimsoll.recording import Recorder, Recording
from plimsoll.replay_view import tick_facts
from plimsoll.simulator import cast
from plimsoll.simulator.node import Kind, SimulatedNode
from plimsoll.simulator.workload import Workload
from plimsoll.sources.manifests import ManifestPods
from tests import paging_day

PAGING = "paging"
DAYS = (*Kind, PAGING)
FOLDER = Path(__file__).parent / "fixtures" / "recordings"
# The simulated day has two minutes.
TICK_SECONDS, TICKS = 8.0, 14
_MORNING = 1_795_507_200.0
_ENFORCE = json.loads(cast.CONFIG)
# It begins carefully; in the end analytics is as important as all others, and memory is left alone.
_CONFIGURATIONS = {
    1: {**_ENFORCE, "preemption": {"mode": "observe"}},
    5: _ENFORCE,
    11: {**_ENFORCE, "preemption": {"mode": "enforce", "memory": "off"}, "priority": {"trustedNamespaces": ["*"]}},
}


def recording(name: str) -> Path:
    """The recorded day of a node: one of :data:`DAYS`."""
    return FOLDER / f"{name}.jsonl.gz"


def decisions(name: str) -> Path:
    """What is wanted of it, as ``plimsoll plan --replay --format json`` tells."""
    return FOLDER / f"{name}.decisions.jsonl"


def decided(path: Path) -> Iterator[str]:
    """A line for each tick of a recording."""
    with Recording(str(path)) as opened:
        for tick in replay(opened, None):
            yield json.dumps(tick_facts(tick))


def day(kind: Kind, folder: Path) -> Iterator[tuple[Snapshot, Config]]:
    """Observe a node in an empty folder for its day, in no time."""
    now = 0.0
    root, pods = folder / "node", folder / "pods"
    root.mkdir()
    pods.mkdir()
    node = SimulatedNode(str(root), kind, Workload(cast.PODS), cast.NODE, name=cast.NODE_NAME)
    options = Options(pods=str(pods), root=str(root), node_name=cast.NODE_NAME)
    config = Config()
    source = ManifestPods(str(pods), clock=lambda: now)
    observer = Observer(options, config, source, clock=lambda: now)
    try:
        for tick in range(1, TICKS + 1):
            now = tick * TICK_SECONDS
            node.advance(now)
            _tell(node, pods)
            if tick in _CONFIGURATIONS:
                config = parse_config(json.dumps(_CONFIGURATIONS[tick]), "the day's configuration")
                observer.reconfigure(config)
            yield replace(observer.snapshot(), unix=_MORNING + now), config
    finally:
        observer.close()


def _tell(node: SimulatedNode, folder: Path) -> None:
    objects = {f"{namespace}-{name}.json": item for (namespace, name), item in node.objects().items()}
    for path in folder.iterdir():
        if path.name not in objects:
            path.unlink()
    for name, item in objects.items():
        path, text = folder / name, json.dumps(item)
        if not path.exists() or path.read_text() != text:
            # A new file: one that only has other text of the same length may not be seen to have changed.
            (folder / "new").write_text(text)
            os.replace(folder / "new", path)


def record(name: str) -> None:
    """Record a day anew."""
    recording(name).unlink(missing_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Recorder(str(recording(name)), cast.NODE_NAME, RECORD_BYTES) as recorder,
    ):
        seen = paging_day.day(_MORNING) if name == PAGING else day(Kind(name), Path(folder))
        for snapshot, config in seen:
            recorder.record(snapshot, config)
        assert not recorder.stopped
    recording(name).chmod(0o644)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--record", action="store_true", help="record the days anew, too")
    parser.add_argument("days", nargs="*", metavar="DAY", help=f"these only: {', '.join(DAYS)}")
    options = parser.parse_args(arguments)
    for name in options.days or DAYS:
        if options.record:
            record(name)
        decisions(name).write_text("".join(f"{line}\n" for line in decided(recording(name))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
