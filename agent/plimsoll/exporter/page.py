"""
The status page at ``/``: what this node is, can do and suffers, for a person in a hurry.

One file without anything from outside, made in fragments so that a scrape can go between them. It must not compute
anything the snapshot does not say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from plimsoll.exporter.frequency_status import frequency_section
from plimsoll.exporter.markup import NOTHING, Html, joined, markup, stranger
from plimsoll.exporter.metrics import Page
from plimsoll.exporter.page_acting import acting_alerts, changes_section, policies_section
from plimsoll.exporter.page_assets import ICON, SCRIPT, STYLE
from plimsoll.exporter.page_overcommit import overcommit_section
from plimsoll.exporter.page_pods import PodView, bars, shares
from plimsoll.model.snapshot import Capability, Snapshot, SourceState

REFRESH_SECONDS = 5.0  # at least: a page is read, not watched frame by frame

_HEAD = """<!doctype html>
<html lang="en" data-refresh="{0:.0f}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<noscript><meta http-equiv="refresh" content="{0:.0f}"></noscript>
<link rel="icon" href="{4}"><title>{1}</title><style>{2}</style></head>
<body><header><svg viewBox="0 0 34 34" aria-hidden="true"><circle cx="17" cy="17" r="10"/><path d="M2 17h30"/></svg>
<h1>{3}</h1><nav aria-label="Data"><a href="metrics">metrics</a><a href="status.json">status.json</a></nav></header>
"""
_STALE = """<div id="stale" class="alert" role="alert" hidden><strong>No answer</strong> from the agent since
<time></time>: the figures below are old.</div>
"""
_TAIL = """</main><script>{}</script></body></html>
"""
_KEY = Html(
    '<p class="soft small key lead"><svg viewBox="0 0 26 12" aria-hidden="true"><rect class="s" width="26" '
    'height="12"/></svg> <b>some</b>: at least one task waited · <svg viewBox="0 0 26 12" aria-hidden="true"><rect '
    'class="f" y="6" width="26" height="6"/></svg> <b>full</b>: no task could run. Share of the last 10 s, or since '
    "the last observation where the kernel keeps no average.</p>"
)


def fragments(page: Page | None) -> Iterator[bytes]:
    """The page in UTF-8, a pod or a section at a time. ``None``: nothing was observed yet."""
    for fragment in _starting() if page is None else _whole(page):
        # A lone surrogate, which JSON can carry, has no UTF-8.
        yield fragment.encode("utf-8", "replace")


def _head(title: str, heading: Html, refresh: float) -> Html:
    opening = Html(_HEAD).format(refresh, markup("{}", title), STYLE, heading, ICON)
    return Html(opening)


def _starting() -> Iterator[Html]:
    yield _head("Plimsoll: starting", Html("Plimsoll"), 2)
    yield Html(_STALE)
    yield Html("<main><section><h2>Starting</h2><p>No observation was made yet. This page looks again.</p></section>")
    yield Html(_TAIL.format(SCRIPT))


def _whole(page: Page) -> Iterator[Html]:
    snapshot, agent = page.snapshot, page.agent
    refresh = max(REFRESH_SECONDS, agent.interval)
    yield _head(f"{snapshot.node_name}: Plimsoll", stranger(snapshot.node_name), refresh)
    yield Html(_STALE)
    yield markup(
        '<main class="whole"><p class="soft small lead">Plimsoll {} · observed {} UTC · every {} · up {}</p>\n{}',
        agent.version,
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(snapshot.unix)),
        duration(agent.interval),
        duration(snapshot.monotonic - agent.started),
        _alerts(page),
    )
    yield _node(snapshot)
    if page.acting is not None:
        yield policies_section(page.acting, snapshot)
        yield frequency_section(snapshot, page.acting)
        yield overcommit_section(snapshot, page.acting)
        yield changes_section(page.recent)
    yield _sources(snapshot.sources)
    yield _capabilities(snapshot.capabilities)
    yield from _pods(snapshot)
    yield Html(_TAIL.format(SCRIPT))


def _alerts(page: Page) -> Html:
    found = [
        _alert(f"Source {each.name} does not answer", (_staleness(each), each.detail))
        for each in page.snapshot.sources
        if not each.ok
    ]
    if not page.agent.config_reload_ok:
        found.append(
            _alert("The configuration on disk is refused; the last good one is in force", page.agent.config_problems)
        )
    if page.tls is not None and not page.tls.ok:
        found.append(_alert("The TLS files on disk are refused; the last good ones are in force", page.tls.problems))
    if page.snapshot.poison:
        found.append(
            _alert(
                "Pods that could not be understood are left out",
                (f"{where}: {message}" for where, _, message in page.snapshot.poison),
            )
        )
    if page.acting is not None:
        found.extend(_alert(title, lines) for title, lines in acting_alerts(page.acting, page.agent.audit_lines_lost))
    return markup('<div class="alerts">{}</div>\n', joined(found))


def _alert(title: str, lines: Iterable[str]) -> Html:
    return markup(
        '<div class="alert"><p><strong>! {}</strong></p>{}</div>',
        title,
        joined(markup('<p class="small">{}</p>', stranger(each)) for each in lines if each),
    )


def _staleness(source: SourceState) -> str:
    if source.age_seconds is None:
        return "It never did: nothing of it is known."
    return f"What is shown of it is {duration(source.age_seconds)} old."


def _node(snapshot: Snapshot) -> Html:
    node = snapshot.node
    facts = []
    if node.cpus is not None:
        facts.append(f"{node.cpus} CPUs")
    if node.memory_total_bytes is not None and node.memory_available_bytes is not None:
        free, total = node.memory_available_bytes / 2**30, node.memory_total_bytes / 2**30
        facts.append(f"{free:.1f} of {total:.1f} GiB memory available")
    pressures = [each for each in node.pressures if each.some is not None or each.full is not None]
    table = bars(shares(pressures, {})) if pressures else Html('<p class="soft small">Not measured here.</p>')
    return markup(
        "<section><h2>Node pressure</h2>{}{}</section>\n",
        markup('<p class="soft small">{}</p>', " · ".join(facts)) if facts else NOTHING,
        table,
    )


def _sources(sources: tuple[SourceState, ...]) -> Html:
    return markup('<section><h2>Sources</h2><ul class="list">{}</ul></section>\n', joined(map(_source, sources)))


def _source(source: SourceState) -> Html:
    failures = sum(source.errors.values())
    lines = [
        "never good yet" if source.age_seconds is None else f"good {duration(source.age_seconds)} ago",
        f"hangs for {duration(source.stuck_seconds)}" if source.stuck_seconds else "",
        "" if source.complete else "not complete yet",
        f"{failures} failures since start" if failures else "",
    ]
    return markup(
        '<li><div class="row"><span>{}</span><span class="{}">{}</span></div><p class="soft small">{}</p>{}</li>',
        source.name,
        Html("yes" if source.ok else "bad"),
        "✓ up" if source.ok else "✗ down",
        " · ".join(each for each in lines if each),
        markup('<p class="small">{}</p>', stranger(source.detail)) if source.detail else NOTHING,
    )


def _capabilities(capabilities: tuple[Capability, ...]) -> Html:
    missing = [each for each in capabilities if not each.available]
    there = [each for each in capabilities if each.available]
    return markup(
        '<section><h2>What this node can do</h2><ul class="list">{}</ul>{}</section>\n',
        joined(map(_capability, missing)),
        markup(
            '<details id="can"><summary id="can-summary">can: {}</summary><ul class="list">{}</ul></details>',
            f"{len(there)} of {len(capabilities)}",
            joined(map(_capability, there)),
        ),
    )


def _capability(capability: Capability) -> Html:
    cure = markup('<p class="small"><b>Cure:</b> {}</p>', stranger(capability.cure)) if capability.cure else NOTHING
    return markup(
        '<li><div class="row"><span>{}</span><span class="{}">{}</span></div><p class="soft small">{}</p>{}</li>',
        capability.name,
        Html("yes" if capability.available else "no"),
        "✓ yes" if capability.available else f"✗ {capability.reason}",
        stranger(capability.detail),
        cure,
    )


def _pods(snapshot: Snapshot) -> Iterator[Html]:
    views = []
    for sample in snapshot.pods:
        views.append(PodView(sample))
        # Nothing to show yet, but a place for a scrape to go between.
        yield NOTHING
    views.sort(key=lambda each: each.order)
    notable = [each for each in views if each.notable]
    calm = [each for each in views if not each.notable]
    yield markup('<section class="wide"><h2>Pods: {}</h2>', len(views))
    if not views:
        known = all(each.complete for each in snapshot.sources)
        yield markup('<p class="soft">{}</p>', "No pods on this node." if known else "Not known yet.")
    else:
        yield _KEY
    yield Html('<ul class="pods">')
    for view in notable:
        yield view.markup()
    yield Html("</ul>")
    if calm:
        opened = NOTHING if notable else Html(" open")
        yield markup(
            '<details id="calm"{}><summary id="calm-summary">{} with less than 1 % pressure</summary>',
            opened,
            len(calm),
        )
        yield Html('<ul class="pods">')
        for view in calm:
            yield view.markup()
        yield Html("</ul></details>")
    yield Html("</section>")


def duration(seconds: float) -> str:
    """A time for a person: ``12 s``, ``3 min 20 s``, ``5 h 2 min``, ``3 d 4 h``."""
    whole = int(seconds)
    for unit, size, lesser, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {lesser}" if rest else f"{whole // size} {unit}"
    return f"{seconds:.1f} s" if 0 < seconds < 10 and seconds != whole else f"{whole} s"
