"""What Speed Select says of a machine, as data for programs. It must not know the lines for a person."""

from __future__ import annotations

from plimsoll.kernel.isst.state import Buckets
from plimsoll.kernel.isst.survey import DomainSurvey, Survey
from plimsoll.kernel.psi_support import Absence
from plimsoll.model.cpus import format_cpus


def isst_facts(found: Survey | Absence) -> dict[str, object]:
    """JSON-ready; everything that is known, lists of CPUs in the kernel's spelling."""
    if isinstance(found, Absence):
        return {"available": False, "reason": found.reason, "detail": found.detail, "cure": found.cure}
    return {
        "available": True,
        "generation": found.generation,
        "apiVersion": found.info.api_version,
        "driverVersion": found.info.driver_version,
        "mmio": found.info.mmio,
        "domains": [_domain_facts(each) for each in found.domains],
        "turboRatioLimits": [
            {
                "package": package,
                "register": f"{each.word:016x}",
                "mhz": each.megahertz,
                "cores": each.core_counts,
            }
            for package, each in sorted(found.limits.items())
        ],
        "unmappedCpus": format_cpus(found.unmapped),
        "failures": [
            {"what": each.what, "place": each.place, "outcome": each.outcome, "errno": each.errno}
            for each in found.failures
        ],
    }


def _domain_facts(each: DomainSurvey) -> dict[str, object]:
    levels = each.levels
    return {
        "package": each.domain.package,
        "domain": each.domain.domain,
        "cpus": format_cpus(each.cpus),
        "units": [{"core": unit.core, "cpus": format_cpus(unit.cpus)} for unit in each.units],
        "levels": None
        if levels is None
        else {
            "version": levels.version,
            "enabled": levels.enabled,
            "locked": levels.locked,
            "current": levels.current,
            "turboFreqLevels": sorted(levels.turbo_freq),
            "turboFreqOn": levels.turbo_freq_on,
            "baseFreqLevels": sorted(levels.base_freq),
            "baseFreqOn": levels.base_freq_on,
            "all": [
                {
                    "level": level.level,
                    "tdpWatts": level.tdp,
                    "tdpRatio": level.tdp_ratio,
                    "baseMhz": level.base,
                    "highestMhz": level.highest,
                    "tjunctionMaxCelsius": level.tjunction_max,
                    "cores": None if level.cores is None else sorted(level.cores),
                    "turbo": _bucket_facts(level.turbo),
                }
                for level in each.details
            ],
        },
        "corePower": None if each.core_power is None else each.core_power._asdict(),
        "classes": [
            {
                "class": clos,
                "priority": param.priority,
                "minMhz": param.minimum,
                "maxMhz": param.maximum,
                "epp": param.epp,
                "desiredMhz": param.desired,
                "cpus": format_cpus(each.members.get(clos, ())),
            }
            for clos, param in sorted(each.classes.items())
        ],
        "turboFreq": [
            {"level": info.level, "lowPriorityMhz": info.low_priority, **_bucket_facts(info.buckets)}
            for info in each.turbo_freq
        ],
        "baseFreq": [
            {
                "level": info.level,
                "highMhz": info.high,
                "lowMhz": info.low,
                "tdpWatts": info.tdp,
                "tjunctionMaxCelsius": info.tjunction_max,
                "highCores": None if info.cores is None else sorted(info.cores),
                "highCpus": None if info.cores is None else format_cpus(each.cpus_of(info.cores)),
            }
            for info in each.base_freq
        ],
    }


def _bucket_facts(buckets: Buckets) -> dict[str, object]:
    """``mhz`` by instruction set, in each by bucket."""
    return {"cores": buckets.cores, "mhz": buckets.ratios}
