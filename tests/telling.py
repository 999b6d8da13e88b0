"""An announcer that was started, and what tests have it tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from plimsoll.config.report_section import NoticesSection
from plimsoll.model.acting import Acting, Mode, Note, Report, Status
from plimsoll.model.announcing import Channel
from plimsoll.model.pod import Pod
from plimsoll.model.snapshot import CgroupState, PodSample, Snapshot, SourceState
from plimsoll.sources.kube.announcing import Announcer, Limits
from tests.fixtures.snapshots import pod

EVENTS = NoticesSection(events=True)
CONDITIONS = NoticesSection(podConditions=True)
BOTH = NoticesSection(events=True, podConditions=True)
# As much as a test has to say, and no waiting for what is not its subject.
BRISK = Limits(burst=1000, settle=0.0, changed=0.0, backoff_first=0.01, backoff_longest=1.0)

REASON = "PreemptionNotReversible"
CONDITION = f"plimsoll.io/{REASON}"
MESSAGE = "This pod's priority is high, but its cgroup was made low-priority before. Recreate the pod."

Json = Mapping[str, Any]


def known(item: Json) -> Pod:
    """The pod that an API object is, as far as a notice needs it."""
    metadata = item["metadata"]
    plain = pod(0, namespace=metadata["namespace"], name=metadata["name"])
    return Pod(replace(plain.object, uid=metadata["uid"]), plain.intent)


def note(item: Json, message: str = MESSAGE) -> Note:
    """Something a policy notes of a pod."""
    return Note(item["metadata"]["uid"], REASON, message)


@dataclass
class Telling:
    """The announcer of a node. ``patience`` is seconds, for a busy machine: each wait ends with its condition."""

    announcer: Announcer
    patience: float = 60.0

    def tick(self, *items: Json, notes: tuple[Note, ...] = ()) -> None:
        """One tick of a policy that enforces, on a node with these pods."""
        self.hear(tuple(known(each) for each in items), notes)

    def hear(self, pods: tuple[Pod, ...], notes: tuple[Note, ...] = ()) -> None:
        """The same with pods as a source gives them."""
        source = SourceState("api-server", ok=True, complete=True, age_seconds=0.0)
        samples = tuple(PodSample(each, CgroupState.FOUND) for each in pods)
        snapshot = Snapshot(1, 0.0, 0.0, None, "node-1", samples, sources=(source,))
        report = Report("preemption", Mode.ENFORCE, Status.OK, notes=notes)
        self.announcer.observe(snapshot, Acting(reports=(report,)))

    def sent(self, channel: Channel) -> int:
        return self.announcer.state.sent.get(channel, 0)

    def failed(self, channel: Channel, reason: str) -> int:
        return self.announcer.state.failed.get((channel, reason), 0)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, f"not {what} in {self.patience:g} s: {self.announcer.state}"
            time.sleep(0.005)

    def until_sent(self, channel: Channel, count: int) -> None:
        self.until(lambda: self.sent(channel) >= count, f"{count} of {channel} sent")
