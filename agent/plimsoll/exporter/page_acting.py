"""
The status page's policies and changes: who wants what and why, and what became of it.

Values, reasons and errors hold what pods' owners wrote: all of it is a stranger's. It must not compute anything the
tick did not say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from plimsoll.exporter.acting_series import decided, observed_writes
from plimsoll.exporter.changes import SHOWN, Action, Change, bounded, change, errno_name, owners_of, would_change
from plimsoll.exporter.markup import NOTHING, Html, joined, markup, stranger
from plimsoll.exporter.page_eviction import eviction_lines
from plimsoll.model.acting import Acting, Mode, Note, Report, Status
from plimsoll.model.outcome import Outcome
from plimsoll.model.snapshot import Snapshot

# What is seen without opening anything: the rest is a click away, and the page stays short on a phone.
_AT_ONCE = 5
_MODES = {Mode.OFF: "off", Mode.OBSERVE: "observes only", Mode.ENFORCE: "enforces"}
_GOOD = (Outcome.OK, Outcome.GONE)


def acting_alerts(acting: Acting, audit_lines_lost: int | None) -> Iterator[tuple[str, Iterable[str]]]:
    """What somebody should look at: a title, and lines that may be a stranger's."""
    for report in acting.reports:
        if report.status is Status.SKIPPED:
            yield f"Policy {report.policy} failed ({report.reason}); what it wanted before is held", (report.detail,)
    if not acting.journal_ok:
        yield (
            "The journal cannot be written",
            ("No knob is touched for the first time: it could not be put back.", f"State: {acting.journal}."),
        )
    for knob, code in acting.disabled.items():
        yield f"Knob {knob.value} is given up on for now ({errno_name(code)})", ("It is tried again by itself.",)
    if acting.stuck_seconds:
        yield f"A write hangs in the kernel for {acting.stuck_seconds:.0f} s", ("Nothing is written behind it.",)
    if audit_lines_lost:
        yield f"{audit_lines_lost} lines of the audit log are lost", ("They could not be written.",)


def policies_section(acting: Acting, snapshot: Snapshot) -> Html:
    """Every policy; below them how many knobs there are to put back, and what two policies want."""
    names = {each.pod.uid: (each.pod.namespace, each.pod.name) for each in snapshot.pods}
    would = observed_writes(acting)
    owners = owners_of(snapshot)
    changes = [change(each, snapshot.sequence, snapshot.unix, owners) for each in would_change(acting)[:SHOWN]]
    items = joined(
        markup(
            "<li>{}{}{}{}</li>",
            _policy(report, would.get(report.policy)),
            eviction_lines(report.eviction, names),
            _would(place, [each for each in changes if each.policy == report.policy], would.get(report.policy, 0)),
            _notes(place, report.notes, names),
        )
        for place, report in enumerate(acting.reports)
    )
    conflicts = len(acting.conflicts)
    return markup(
        '<section><h2>Policies</h2><ul class="list">{}</ul><p class="soft small">{} · journal: {}{}</p></section>\n',
        items,
        f"{_count(acting.held, 'knob')} to put back in the end",
        acting.journal or "none",
        f" · {_count(conflicts, 'knob')} two policies want" if conflicts else "",
    )


def _policy(report: Report, would: int | None) -> Html:
    label, kind = _label(report)
    lines = [_MODES[report.mode]]
    if would is not None:
        lines[0] += f": would change {_count(would, 'knob')} now"
    if report.mode is not Mode.OFF and decided(report):
        lines.append(f"wants {_count(report.writes, 'value')}")
    if failed := sum(report.failures.values()):
        lines.append(f"failed {failed} times since start")
    return markup(
        '<div class="row"><span>{}</span><span class="{}">{}</span></div><p class="soft small">{}</p>{}{}',
        report.policy,
        Html(kind),
        label,
        " · ".join(lines),
        markup('<p class="small">{}</p>', stranger(bounded(report.detail))) if report.detail else NOTHING,
        markup('<p class="small no">! it would do more, but this node lacks: {}</p>', ", ".join(report.lacking))
        if report.lacking and report.status is not Status.MISSING
        else NOTHING,
    )


def _label(report: Report) -> tuple[str, str]:
    if report.status is Status.OK:
        return "✓ ok", "yes"
    if report.status is Status.SKIPPED:
        return f"✗ {report.reason}", "bad"
    return report.status.value, "soft" if report.status is Status.OFF else "no"


def _would(place: int, changes: Sequence[Change], count: int) -> Html:
    if not changes:
        return NOTHING
    shown = f"the first {len(changes)} of {count}" if count > len(changes) else _count(count, "change")
    return markup(
        '<details id="would-{0}"><summary id="would-{0}-summary">would make {1}</summary>'
        '<ul class="list">{2}</ul></details>',
        place,
        shown,
        joined(map(_wanted, changes)),
    )


def _wanted(each: Change) -> Html:
    return markup(
        '<li><p class="small">{}: {}</p><p class="soft small">{}</p></li>',
        _where(each),
        _values(each),
        stranger(each.reason),
    )


def _notes(place: int, notes: Sequence[Note], names: dict[str, tuple[str, str]]) -> Html:
    if not notes:
        return NOTHING
    shown = notes[:SHOWN]
    total = _count(len(notes), "note")
    return markup(
        '<details id="notes-{0}"><summary id="notes-{0}-summary">{1} to pods\' owners</summary>'
        '<ul class="list">{2}</ul></details>',
        place,
        total if len(shown) == len(notes) else f"the first {len(shown)} of {total}",
        joined(
            markup(
                '<li><p class="small">{}: {}</p><p class="soft small">{}</p></li>',
                stranger("/".join(names.get(each.pod, (f"pod {bounded(each.pod)}",)))),
                each.reason,
                stranger(bounded(each.message)),
            )
            for each in shown
        ),
    )


def changes_section(recent: Sequence[Change]) -> Html:
    """The last changes, the newest first."""
    if not recent:
        return Html('<section><h2>Recent changes</h2><p class="soft small">None since start.</p></section>\n')
    older = recent[_AT_ONCE:SHOWN]
    more = (
        markup(
            '<details id="changes"><summary id="changes-summary">{} before</summary><ul class="list">{}</ul></details>',
            len(older),
            joined(map(_change, older)),
        )
        if older
        else NOTHING
    )
    return markup(
        '<section><h2>Recent changes</h2><ul class="list">{}</ul>{}</section>\n',
        joined(map(_change, recent[:_AT_ONCE])),
        more,
    )


def _change(each: Change) -> Html:
    if each.action is Action.ADOPT:
        return markup(
            '<li><p class="small">{}</p><p class="soft small">{} UTC · after a start</p></li>',
            each.reason,
            _clock(each.unix),
        )
    good = each.outcome in _GOOD
    return markup(
        '<li><div class="row"><span>{}</span><span class="{}">{} {}{}</span></div>'
        '<p class="small">{}</p><p class="soft small">{} UTC · {}: {}</p></li>',
        _where(each),
        Html("yes" if good else "no"),
        "✓" if good else "✗",
        each.outcome.value,
        f" ({each.errno})" if each.errno else "",
        _values(each),
        _clock(each.unix),
        each.policy,
        stranger(each.reason),
    )


def _clock(unix: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(unix))


def _where(each: Change) -> Html:
    if each.owner is not None:
        return stranger("/".join(each.owner))
    return stranger(each.target) if each.target else Html("(node)")


def _values(each: Change) -> Html:
    if each.action is Action.EVICT:
        return Html("evicted" if each.outcome is Outcome.OK else "not evicted")
    if each.outcome is Outcome.OK:
        before = NOTHING if each.before is None else markup("{} → ", stranger(each.before))
        return markup("{} {}{}", each.knob, before, stranger(each.value))
    found = each.before if each.after is None else each.after
    stands = NOTHING if found is None else markup(", {} stands", stranger(found))
    return markup("{} {} wanted{}", each.knob, stranger(each.value), stands)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
