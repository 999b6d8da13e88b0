"""
The frequency groups for a person: their part of ``/status.json`` and of the status page.

It must not compute anything the tick did not say.
"""

from __future__ import annotations

from collections.abc import Iterator

from plimsoll.exporter.markup import NOTHING, Html, joined, markup
from plimsoll.model.acting import Acting
from plimsoll.model.cpus import format_cpus
from plimsoll.model.frequency import FrequencySample
from plimsoll.model.frequency_groups import FrequencyGroups, Group
from plimsoll.model.snapshot import Snapshot


def frequency_facts(snapshot: Snapshot, acting: Acting) -> dict[str, object] | None:
    """JSON-ready data, CPUs and MHz; ``None`` where no policy forms groups."""
    found = _groups(acting)
    if found is None:
        return None
    sample = snapshot.node.frequency
    return {
        "backend": found.backend,
        "groups": {
            group: {
                "units": each.units,
                "cpus": format_cpus(each.cpus),
                "megahertz": None if each.megahertz is None else round(each.megahertz),
                "astray": None if each.astray is None else format_cpus(each.astray),
            }
            for group, each in found.groups.items()
        },
        "targetCpus": round(found.target, 3),
        "demandCpus": None if found.demand is None else round(found.demand, 3),
        "moves": found.moves,
        "lastChange": found.cause,
        "packageWatts": {} if sample is None else {str(each): round(watts, 1) for each, watts in sample.watts.items()},
        "heldSeconds": None if sample is None else sample.held_seconds,
    }


def frequency_section(snapshot: Snapshot, acting: Acting) -> Html:
    """The groups, how fast they run and what the high one is for; nothing where no policy forms groups."""
    found = _groups(acting)
    if found is None:
        return NOTHING
    sample = snapshot.node.frequency
    return markup(
        '<section><h2>CPU frequencies</h2><p class="soft small">{}</p><ul class="list">{}</ul>'
        '<p class="soft small">{}</p></section>\n',
        " · ".join(_facts(found, sample)),
        joined(_group(found, group) for group in Group),
        f"{found.moves} moves" + (f" · the last one: {found.cause.value}" if found.cause is not None else ""),
    )


def _groups(acting: Acting) -> FrequencyGroups | None:
    return next((each.frequency for each in acting.reports if each.frequency is not None), None)


def _facts(found: FrequencyGroups, sample: FrequencySample | None) -> Iterator[str]:
    yield f"set by {found.backend.value}"
    if found.demand is not None:
        yield f"high-priority pods use {found.demand:.1f} CPUs"
    yield f"their group shall have {found.target:.1f}"
    if sample is not None:
        yield from (f"package {package} takes {watts:.0f} W" for package, watts in sorted(sample.watts.items()))
        if sample.held_seconds:
            yield f"a read failed: {sample.held_seconds:.0f} s old"


def _group(found: FrequencyGroups, group: Group) -> Html:
    each = found.groups.get(group)
    if each is None or not each.units:
        return markup('<li><div class="row"><span>{}</span><span class="soft">none</span></div></li>', group.value)
    speed = "idle or unknown" if each.megahertz is None else f"{each.megahertz:.0f} MHz"
    astray = NOTHING
    if each.astray:
        what = "slower" if group is Group.HIGH else "faster"
        astray = markup('<p class="small no">! CPUs {} run {} than they should</p>', format_cpus(each.astray), what)
    return markup(
        '<li><div class="row"><span>{}</span><span>{} CPUs, {}</span></div><p class="soft small">{}</p>{}</li>',
        group.value,
        len(each.cpus),
        speed,
        format_cpus(each.cpus),
        astray,
    )
