"""
The families of memory overcommit and their samples: the ratio, the device, and what each low-priority pod came to.

It must not know the text format, nor how the figures were arrived at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plimsoll.exporter.exposition import Family, Labels, Sampled
from plimsoll.model.acting import Acting
from plimsoll.model.memory import Earned, NodeSwap, SwapDevice
from plimsoll.model.overcommit import Overcommit, Pause, PodOvercommit
from plimsoll.model.publishing import Publishing
from plimsoll.model.snapshot import Snapshot

_POD = ("namespace", "pod")

RATIO = Family("plimsoll_overcommit_ratio", "gauge", "Of low-priority pods: (in memory + on the device) / in memory.")
TARGET = Family("plimsoll_overcommit_target_ratio", "gauge", "What the ratio shall be.")
PHYSICAL = Family(
    "plimsoll_overcommit_memory_bytes",
    "gauge",
    "Memory of low-priority pods, with the page cache: what a budget is for.",
)
BASE = Family("plimsoll_overcommit_base_bytes", "gauge", "Memory of low-priority pods that the ratio is reckoned with.")
OFFLOADED = Family(
    "plimsoll_overcommit_offloaded_bytes", "gauge", "Memory of low-priority pods that is only on the device."
)
SWAP_CACHE = Family(
    "plimsoll_overcommit_swap_cached_bytes", "gauge", "What is in memory and on the device at once: nothing is saved."
)
GAP = Family("plimsoll_overcommit_gap_bytes", "gauge", "Still to be moved out until the target is reached.")
WRITE_RATE = Family(
    "plimsoll_overcommit_write_bytes_per_second", "gauge", "What the device is written, smoothed over a minute."
)
WRITE_MEAN = Family(
    "plimsoll_overcommit_write_mean_bytes_per_second",
    "gauge",
    "The same over a day; until the agent has run for one, since it started.",
)
WRITE_LIMIT = Family(
    "plimsoll_overcommit_write_limit_bytes_per_second", "gauge", "What the device may be written on the average."
)
WRITE_BUDGET = Family(
    "plimsoll_overcommit_write_budget_bytes", "gauge", "What is left of that: the device may be written so much now."
)
LIFE = Family(
    "plimsoll_overcommit_device_life_seconds",
    "gauge",
    "When the drive has been written what it is rated for, if the last day goes on; needs overcommit.endurance.",
)
PAUSED = Family("plimsoll_overcommit_paused", "gauge", "1 for why nothing at all is reclaimed.", ("reason",))
SELECTOR = Family(
    "plimsoll_overcommit_selector", "gauge", "1 for how cold memory is found on this node.", ("selector",)
)
PASSED_OVER = Family(
    "plimsoll_overcommit_selector_passed_over",
    "gauge",
    "1 for a selector that would find colder memory, and why it is not used.",
    ("selector", "reason"),
)
OFFERED = Family(
    "plimsoll_overcommit_offered_bytes",
    "gauge",
    "What more low-priority pods may be placed by: it grows slowly, in steps.",
)
PUBLISHED = Family("plimsoll_low_memory_published_bytes", "gauge", "What stands on the node as plimsoll.io/low-memory.")
PUBLISH_SENT = Family("plimsoll_low_memory_updates_total", "counter", "Updates of the node that the API server took.")
PUBLISH_FAILED = Family(
    "plimsoll_low_memory_update_failures_total", "counter", "Updates of the node that came to nothing.", ("reason",)
)
POD_OFFLOADED = Family("plimsoll_pod_offloaded_bytes", "gauge", "The pod's memory that is only on the device.", _POD)
POD_CAP = Family(
    "plimsoll_pod_offloaded_limit_bytes", "gauge", "The most of the pod's memory that the policy moves there.", _POD
)
POD_FLOOR = Family("plimsoll_pod_memory_floor_bytes", "gauge", "The pod's memory is not taken below this.", _POD)
POD_COLD = Family("plimsoll_pod_memory_cold_bytes", "gauge", "What was idle for the selector's whole window.", _POD)
POD_WINDOW = Family(
    "plimsoll_pod_cold_window_seconds",
    "gauge",
    "How long the pod's memory must not have been used to be cold; longer than configured where that was too short.",
    _POD,
)
POD_STEP = Family("plimsoll_pod_reclaim_step", "gauge", "The share of its base the pod may lose at once.", _POD)
POD_PRESSURE = Family(
    "plimsoll_pod_swap_pressure", "gauge", "Share of time the pod waited for swap, 0 to 1.", (*_POD, "source")
)
POD_STALL_BUDGET = Family(
    "plimsoll_pod_stall_budget_seconds",
    "gauge",
    "How long the pod may yet wait for swap; below 0 it has waited for more than it may.",
    _POD,
)
POD_REFAULTS = Family(
    "plimsoll_pod_refault_bytes_per_second", "gauge", "What was taken from the pod and came back, smoothed.", _POD
)
POD_PAUSED = Family(
    "plimsoll_pod_reclaim_paused", "gauge", "1 for why nothing is reclaimed of the pod.", (*_POD, "reason")
)
POD_WANTED = Family(
    "plimsoll_pod_reclaim_wanted_bytes",
    "gauge",
    "What a request now would be of; while the policy only observes, none is made.",
    _POD,
)
POD_ASKED = Family(
    "plimsoll_pod_reclaim_asked_bytes_total", "counter", "What memory.reclaim was asked for.", (*_POD, "selector")
)
POD_FREED = Family(
    "plimsoll_pod_reclaim_freed_bytes_total",
    "counter",
    "By how much the pod's memory went down. What DAMON pages out by itself is not in it.",
    (*_POD, "selector"),
)
POD_SECONDS = Family(
    "plimsoll_pod_reclaim_seconds_total", "counter", "Time the kernel took for it.", (*_POD, "selector")
)
POD_PENDING = Family(
    "plimsoll_pod_reclaim_pending_bytes", "gauge", "Of the request that is under way.", (*_POD, "selector")
)
RECLAIMS = Family(
    "plimsoll_reclaims_total", "counter", "Reclaims by outcome; busy: the kernel found less.", ("policy", "outcome")
)
DEDICATED = Family(
    "plimsoll_swap_dedicated",
    "gauge",
    "1 while the device holds memory of low-priority pods only, else 0 and why.",
    ("device", "reason"),
)
SWAP_SIZE = Family("plimsoll_swap_size_bytes", "gauge", "Size of the device while it is in use as swap.", ("device",))
SWAP_USED = Family("plimsoll_swap_used_bytes", "gauge", "How much of it is taken.", ("device",))
SWAP_IN_MEMORY = Family(
    "plimsoll_swap_memory_bytes",
    "gauge",
    "Memory that a compressing device itself takes for what it holds.",
    ("device",),
)
SWAP_WRITTEN = Family(
    "plimsoll_swap_written_bytes_total",
    "counter",
    "Bytes written to the device since boot; to a file since the agent started, while no other swap is in use.",
    ("device",),
)
SWAP_READ = Family(
    "plimsoll_swap_read_bytes_total",
    "counter",
    "Bytes read from the device since boot; of a file as above.",
    ("device",),
)

OVERCOMMIT_FAMILIES = (
    *(RATIO, TARGET, PHYSICAL, BASE, OFFLOADED, SWAP_CACHE, GAP, WRITE_RATE, WRITE_MEAN, WRITE_LIMIT, WRITE_BUDGET),
    *(LIFE, OFFERED, PAUSED),
    *(SELECTOR, PASSED_OVER, POD_OFFLOADED, POD_CAP, POD_FLOOR, POD_COLD, POD_WINDOW, POD_STEP),
    *(POD_PRESSURE, POD_STALL_BUDGET),
    *(POD_REFAULTS, POD_PAUSED, POD_WANTED),
    *(POD_ASKED, POD_FREED, POD_SECONDS, POD_PENDING, RECLAIMS, DEDICATED),
    *(SWAP_SIZE, SWAP_USED, SWAP_IN_MEMORY, SWAP_WRITTEN, SWAP_READ),
)
"""In the order of the page."""


def overcommit_samples(snapshot: Snapshot, acting: Acting) -> Iterator[Sampled]:
    """Every family there is something to say of; nothing where no policy overcommits."""
    figures = next((each.overcommit for each in acting.reports if each.overcommit is not None), None)
    names = {each.pod.uid: (each.pod.namespace, each.pod.name) for each in snapshot.pods}
    if figures is not None:
        yield from _node(figures)
        yield from _pods([(names[each.uid], each) for each in figures.pods if each.uid in names])
    swap = snapshot.node.swap
    if swap is None:
        return
    yield from _offloads(swap, names)
    yield RECLAIMS, sorted(((policy, how.value), count) for (policy, how), count in acting.reclaims.items())
    if swap.device is not None:
        yield from _device(swap.device)


PUBLISH_FAMILIES = (PUBLISHED, PUBLISH_SENT, PUBLISH_FAILED)
"""In the order of the page."""


def publishing_samples(publishing: Publishing | None) -> Iterator[Sampled]:
    """Nothing where nothing was ever to be published."""
    if publishing is None or not (publishing.known or publishing.failed):
        return
    yield PUBLISHED, [((), publishing.stands)] if publishing.stands is not None else []
    yield PUBLISH_SENT, [((), publishing.sent)]
    yield PUBLISH_FAILED, sorted(((reason,), count) for reason, count in publishing.failed.items())


def _node(figures: Overcommit) -> Iterator[Sampled]:
    if figures.ratio is not None:
        yield RATIO, [((), figures.ratio)]
    yield TARGET, [((), figures.target)]
    yield PHYSICAL, [((), figures.physical)]
    yield BASE, [((), figures.base)]
    yield OFFLOADED, [((), figures.offloaded)]
    yield SWAP_CACHE, [((), figures.swap_cached)]
    yield GAP, [((), figures.gap)]
    written = ((WRITE_RATE, figures.write_rate), (WRITE_MEAN, figures.write_mean), (WRITE_LIMIT, figures.write_limit))
    left = (WRITE_BUDGET, figures.write_budget)
    for family, value in (*written, left, (LIFE, figures.life), (OFFERED, figures.offer)):
        if value is not None:
            yield family, [((), value)]
    yield PAUSED, [((figures.pause.value,), 1)] if figures.pause is not Pause.NONE else []
    yield SELECTOR, [((figures.selector.value,), 1)] if figures.selector is not None else []
    yield PASSED_OVER, [((selector.value, reason), 1) for selector, reason in figures.passed_over]


def _pods(pods: Sequence[tuple[Labels, PodOvercommit]]) -> Iterator[Sampled]:
    yield POD_OFFLOADED, [(name, each.offloaded) for name, each in pods]
    yield POD_CAP, [(name, each.cap) for name, each in pods]
    yield POD_FLOOR, [(name, each.floor) for name, each in pods]
    yield POD_COLD, [(name, each.cold) for name, each in pods if each.cold is not None]
    yield POD_WINDOW, [(name, each.window) for name, each in pods]
    yield POD_STEP, [(name, each.step) for name, each in pods]
    yield (
        POD_PRESSURE,
        [
            ((*name, "exact" if each.exact else "estimated"), each.pressure)
            for name, each in pods
            if each.pressure is not None
        ],
    )
    yield POD_STALL_BUDGET, [(name, each.stall_budget) for name, each in pods]
    yield POD_REFAULTS, [(name, each.refaults) for name, each in pods if each.refaults is not None]
    yield POD_PAUSED, [((*name, each.pause.value), 1) for name, each in pods if each.pause is not Pause.NONE]
    yield POD_WANTED, [(name, each.wanted) for name, each in pods]


def _offloads(swap: NodeSwap, names: dict[str, tuple[str, str]]) -> Iterator[Sampled]:
    found = [(names[uid], each) for uid, each in swap.offloads.items() if uid in names]
    # What is counted stays with the selector it was counted for; the one in use begins with nothing.
    earned = [
        ((*name, selector), share)
        for name, each in found
        for selector, share in sorted({each.selector: Earned(), **each.earned}.items())
    ]
    yield POD_ASKED, [(labels, each.asked) for labels, each in earned]
    yield POD_FREED, [(labels, each.freed) for labels, each in earned]
    yield POD_SECONDS, [(labels, each.seconds) for labels, each in earned]
    yield POD_PENDING, [((*name, each.selector), each.busy_bytes) for name, each in found]


def _device(device: SwapDevice) -> Iterator[Sampled]:
    where = device.path
    if device.dedicated is not None:
        reasons = device.reasons or ("",)
        yield DEDICATED, [((where, reason), int(device.dedicated)) for reason in reasons]
    figures = ((SWAP_SIZE, device.size), (SWAP_USED, device.used), (SWAP_IN_MEMORY, device.in_memory))
    for family, value in (*figures, (SWAP_WRITTEN, device.written), (SWAP_READ, device.read)):
        if value is not None:
            yield family, [((where,), value)]
