"""The status page's words on evictions: who waits for what, and why nobody goes. Pods' names are a stranger's."""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll.exporter.markup import NOTHING, Html, joined, markup, stranger
from plimsoll.exporter.page_pods import percent
from plimsoll.model.eviction import Eviction, Pause, Shortage

_SHOWN = 5
_WHY = {
    Pause.STARTING: "the agent has just begun",
    Pause.ASKED: "the API server has not answered yet",
    Pause.SETTLING: "the last eviction has not settled yet",
    Pause.TERMINATING: "the last pod evicted has not ended yet",
    Pause.RATE: "so many went in the last hour as may",
    Pause.FORBIDDEN: "the agent lacks the right: create on pods/eviction",
    Pause.REFUSED: "the API server has just refused one",
    Pause.NOBODY: "no pod that may be evicted has a part in it worth it",
}


def eviction_lines(eviction: Eviction | None, names: Mapping[str, tuple[str, str]]) -> Html:
    """Below the policy; nothing where nobody waits and nobody went. ``names``: namespace and name by UID."""
    if eviction is None:
        return NOTHING
    shown = [_shortage(each, names) for each in eviction.shortages[:_SHOWN]]
    if more := len(eviction.shortages) - len(shown):
        shown.append(markup('<p class="soft small">and {} more</p>', more))
    if eviction.pause is not Pause.NONE:
        shown.append(markup('<p class="small no">! nobody is evicted: {}</p>', _WHY[eviction.pause]))
    if eviction.lately:
        shown.append(markup('<p class="soft small">{} in the last hour</p>', eviction.lately))
    return joined(shown)


def _shortage(shortage: Shortage, names: Mapping[str, tuple[str, str]]) -> Html:
    who = "/".join(names.get(shortage.pod, (shortage.pod,))) if shortage.pod else "the node"
    return markup(
        '<p class="small">{} waits for {} {} of the time, for {} s{}</p>',
        stranger(who),
        shortage.resource.value,
        percent(shortage.share),
        round(shortage.seconds),
        ": too long" if shortage.sustained else "",
    )
