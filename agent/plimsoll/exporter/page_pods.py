"""The status page's bars and pods. Everything is made from the snapshot; pods' text is a stranger's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from plimsoll.exporter.markup import NOTHING, Html, joined, markup, stranger
from plimsoll.model.pressure import Pressure, PressureLine, Source
from plimsoll.model.snapshot import CgroupState, PodSample

# Pressure below this share of time is not worth a bar, nor a pod's place among those to look at.
QUIET = 0.01

_Rates = Mapping[str, tuple[float | None, float | None]]
_STATES = {
    CgroupState.FOUND: "",
    CgroupState.PENDING: "its cgroup is not there (yet)",
    CgroupState.GONE: "its cgroup vanished",
    CgroupState.DENIED: "its cgroup may not be looked at",
    CgroupState.ILLEGAL: "its UID is not one a path may be built from",
}


class Share(NamedTuple):
    """Shares of time lost to one cause, 0 to 1 (CPU time summed over CPUs may pass 1); ``None`` is unknown."""

    cause: str
    source: Source
    some: float | None
    full: float | None

    @property
    def worst(self) -> float | None:
        """The larger of the two that are known."""
        return max((each for each in (self.some, self.full) if each is not None), default=None)


def shares(pressures: Iterable[Pressure], rates: _Rates) -> tuple[Share, ...]:
    """The kernel's average over 10 s where it keeps one, else the rate since the previous tick; worst first."""
    found = []
    for each in pressures:
        some, full = rates.get(each.cause, (None, None))
        found.append(Share(each.cause, each.source, _share(each.some, some), _share(each.full, full)))
    return tuple(sorted(found, key=lambda each: -(each.worst or 0)))


def _share(line: PressureLine | None, rate: float | None) -> float | None:
    if line is None:
        return None
    return rate if line.avg10 is None else line.avg10 / 10_000


def bars(found: tuple[Share, ...]) -> Html:
    """A table of the causes that are felt, and the others' names."""
    felt = [each for each in found if (each.worst or 0) >= QUIET]
    quiet = [each.cause for each in found if each.worst is not None and each.worst < QUIET]
    unknown = [each.cause for each in found if each.worst is None]
    table = NOTHING
    if felt:
        table = markup(
            '<table><thead><tr><th scope="col">cause<td>some<td>full</thead><tbody>{}</tbody></table>',
            joined(_bar(each) for each in felt),
        )
    if not felt and not unknown:
        return Html('<p class="soft small">every cause below 1 %</p>') if quiet else NOTHING
    return joined((table, _names("below 1 %", quiet), _names("not known yet", unknown)))


def _bar(share: Share) -> Html:
    derived = Html(' <span class="soft">(derived)</span>') if share.source is Source.DERIVED else NOTHING
    return markup(
        '<tr><th scope="row">{}{}<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="s" width="{}" height="10"/><rect class="f" y="5" width="{}" height="5"/></svg><td>{}<td>{}',
        stranger(share.cause),
        derived,
        _width(share.some),
        _width(share.full),
        percent(share.some),
        percent(share.full),
    )


def _width(share: float | None) -> str:
    return f"{min(100.0, 100 * (share or 0)):.1f}"


def _names(what: str, causes: list[str]) -> Html:
    if not causes:
        return NOTHING
    return markup('<p class="soft small">{}: {}</p>', what, joined((stranger(each) for each in causes), ", "))


def percent(share: float | None) -> str:
    """``12.3 %``; nothing for a share that is not known."""
    return "" if share is None else f"{100 * share:.1f} %"


class PodView:
    """One pod, with what decides where it stands."""

    def __init__(self, sample: PodSample) -> None:
        self._sample = sample
        self._shares = shares(sample.pressures, sample.stall_rates)
        self.worst = max((each.worst for each in self._shares if each.worst is not None), default=None)

    @property
    def order(self) -> tuple[float, int, str, str]:
        """Worst pressure first; then the most important; then by name."""
        pod = self._sample.pod
        return -(self.worst or 0), -pod.priority.rank, pod.namespace, pod.name

    @property
    def notable(self) -> bool:
        """Whether a person should look: it is held up, not known or not found, or its owner is not followed."""
        calm = self.worst is not None and self.worst < QUIET
        return not calm or self._sample.state is not CgroupState.FOUND or bool(self._sample.pod.intent.rejected)

    def markup(self) -> Html:
        """The pod as one item of a list."""
        pod = self._sample.pod
        return markup(
            '<li><div class="row"><h3><span class="soft">{}/</span>{}</h3><span class="worst">{}</span></div>'
            '<p class="small"><span class="tag {}">{}</span> <span class="soft">by {} · {}{}{}{}</span></p>'
            "{}{}{}</li>\n",
            stranger(pod.namespace),
            stranger(pod.name),
            percent(self.worst) or ("?" if self._shares else ""),
            Html(pod.priority.value),
            pod.priority.value,
            stranger(pod.intent.origin),
            pod.object.qos_class.value,
            "" if pod.intent.managed else " · never acted upon",
            " · cgroup found" if self._sample.state is CgroupState.FOUND else "",
            self._memory(),
            self._state(),
            bars(self._shares),
            joined(
                markup(
                    '<p class="ignored small"><strong>ignored</strong> {} <span class="soft">({})</span>: {}</p>',
                    stranger(each.key),
                    each.reason,
                    stranger(each.message),
                )
                for each in pod.intent.rejected
            ),
        )

    def _memory(self) -> str:
        used, limit = self._sample.memory_bytes, self._sample.memory_limit_bytes
        if used is None:
            return ""
        return f" · {size(used)} of {size(limit)}" if limit is not None else f" · {size(used)}, no limit"

    def _state(self) -> Html:
        sentence = _STATES[self._sample.state]
        errors = [f"{file}: {outcome.value}" for file, outcome in self._sample.errors.items()]
        text = "; ".join((sentence, *errors) if sentence else errors)
        return markup('<p class="small no">! {}</p>', text) if text else NOTHING


def size(count: int) -> str:
    """Bytes for a person: ``512 MiB``."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.3g} {unit}"
