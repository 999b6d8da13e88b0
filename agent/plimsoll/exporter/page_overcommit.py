"""
The status page's words on memory overcommit: how much of it, on which device, and what each pod gave. Pods' names are a
stranger's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from plimsoll.exporter.changes import SHOWN, bounded
from plimsoll.exporter.markup import NOTHING, Html, joined, markup, stranger
from plimsoll.exporter.overcommit_status import WORDS, found
from plimsoll.exporter.page_pods import percent, size
from plimsoll.model.acting import Acting, Mode
from plimsoll.model.memory import SwapDevice
from plimsoll.model.overcommit import Overcommit, Pause, PodOvercommit
from plimsoll.model.snapshot import Snapshot

# What is seen without opening anything.
_AT_ONCE = 5
_DAY = 86_400.0
_YEAR = 365.25 * _DAY
# Nobody has to look into these: it is how it should be.
_CALM = frozenset(
    {
        *(Pause.REACHED, Pause.OWNER, Pause.PROBATION, Pause.LOOKING, Pause.FLOOR, Pause.CAPPED, Pause.WARM),
        *(Pause.BUSY, Pause.WRITE_BUDGET),
    }
)


def overcommit_section(snapshot: Snapshot, acting: Acting) -> Html:
    """The ratio, the device and the pods; nothing where nothing is overcommitted."""
    all_of_it = found(snapshot, acting)
    if all_of_it is None:
        return NOTHING
    mode, figures, pods = all_of_it
    device = None if snapshot.node.swap is None else snapshot.node.swap.device
    return markup(
        '<section><h2>Memory overcommit</h2><p class="soft small">{}</p>{}{}{}{}</section>\n',
        " · ".join(_node(figures)),
        markup('<p class="soft small">Only observed: what would be reclaimed is shown, and nothing is.</p>')
        if mode is Mode.OBSERVE
        else NOTHING,
        _pause("nothing is reclaimed", figures.pause),
        NOTHING if device is None else _device(device, figures),
        _pods(pods),
    )


def _node(figures: Overcommit) -> Iterator[str]:
    if figures.budget is not None:
        yield f"{size(figures.physical)} in memory, of a budget of {size(figures.budget)}"
    else:
        yield f"ratio {'?' if figures.ratio is None else f'{figures.ratio:.2f}'}, shall be {figures.target:.2f}"
        yield f"{size(figures.physical)} in memory"
    yield f"{size(figures.offloaded)} saved"
    if figures.gap:
        yield f"{size(figures.gap)} to go"
    if figures.selector is not None:
        yield f"cold memory is found by {figures.selector.value}"
    if figures.passed_over:
        yield "not by " + ", ".join(f"{selector.value} ({reason})" for selector, reason in figures.passed_over)


def _pause(what: str, pause: Pause, seconds: float = 0.0) -> Html:
    if pause not in WORDS:
        return NOTHING
    left = f", for {seconds:.0f} s more" if seconds >= 0.5 else ""
    if pause in _CALM:
        return markup('<p class="soft small">{}: {}{}</p>', what, WORDS[pause], left)
    return markup('<p class="small no">! {}: {}{}</p>', what, WORDS[pause], left)


def _device(device: SwapDevice, figures: Overcommit) -> Html:
    label, kind = _dedicated(device)
    return markup(
        '<div class="row"><span>{}</span><span class="{}">{}</span></div><p class="soft small">{}</p>{}',
        stranger(bounded(device.path)),
        Html(kind),
        label,
        " · ".join(_wear(device, figures)),
        joined(
            markup(
                '<p class="small no">! {}{}</p>', reason, markup(": {}", stranger(bounded(detail))) if detail else ""
            )
            for reason, detail in zip_longest(device.reasons[:SHOWN], device.details[:SHOWN], fillvalue="")
        ),
    )


def _dedicated(device: SwapDevice) -> tuple[str, str]:
    if not device.active:
        return "not in use", "no"
    if device.dedicated is None:
        return "? dedicated", "soft"
    return ("✓ dedicated", "yes") if device.dedicated else ("✗ shared", "no")


def _wear(device: SwapDevice, figures: Overcommit) -> Iterator[str]:
    if device.size is not None:
        yield f"{'?' if device.used is None else size(device.used)} of {size(device.size)} used"
    if figures.write_rate is not None:
        yield f"written {size(round(figures.write_rate))}/s"
    if figures.write_limit is not None:
        yield f"may be written {size(round(figures.write_limit))}/s on the average"
    if figures.write_budget is not None:
        yield f"{size(figures.write_budget)} of it now"
    if figures.life is not None:
        lasts = f"{figures.life / _YEAR:.1f} years" if figures.life >= _YEAR else f"{figures.life / _DAY:.0f} days"
        yield f"lasts {lasts} if it goes on like the last day"


def _pods(pods: tuple[tuple[str, str, PodOvercommit], ...]) -> Html:
    first, others = pods[:_AT_ONCE], pods[_AT_ONCE:SHOWN]
    if not first:
        return NOTHING
    left = len(pods) - len(first)
    more = NOTHING
    if others:
        label = f"{len(others)} of {left} more" if left > len(others) else f"{left} more"
        more = markup(
            '<details id="overcommit"><summary id="overcommit-summary">{}</summary><ul class="list">{}</ul></details>',
            label,
            joined(_pod(*each) for each in others),
        )
    return markup('<ul class="list">{}</ul>{}', joined(_pod(*each) for each in first), more)


def _pod(namespace: str, name: str, pod: PodOvercommit) -> Html:
    return markup(
        '<li><div class="row"><span>{}</span><span>{} saved</span></div><p class="soft small">{}</p>{}</li>',
        stranger(f"{namespace}/{name}"),
        size(pod.offloaded),
        " · ".join(_facts(pod)),
        _pause("paused", pod.pause, pod.pause_seconds),
    )


def _facts(pod: PodOvercommit) -> Iterator[str]:
    yield f"at most {size(pod.cap)}"
    yield f"floor {size(pod.floor)}"
    yield f"step {percent(pod.step)}"
    if pod.pressure is not None:
        yield f"waits for swap {percent(pod.pressure)} of the time{'' if pod.exact else ' (estimated)'}"
    yield f"may wait for {pod.stall_budget:.2f} s more" if pod.stall_budget > 0 else "may not wait any more"
    if pod.refaults is not None:
        yield f"{size(round(pod.refaults))}/s come back"
    if pod.cold is not None:
        yield f"{size(pod.cold)} cold"
    yield f"cold after {pod.window:.0f} s"
    yield f"by {pod.selector.value}"
    if pod.wanted:
        yield f"a request now: {size(pod.wanted)}"
