"""
Everything Speed Select says of a machine, read once: for a person to look at.

Reads only. What could not be read is left out and named, so that one refusal does not hide the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from plimsoll.kernel.isst.binding import Slot
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.state import (
    Answer,
    BaseFreqInfo,
    ClosParam,
    CorePower,
    Domain,
    PerfLevel,
    PerfLevels,
    PlatformInfo,
    TurboFreqInfo,
    TurboRatioLimits,
    Unit,
)
from plimsoll.model.cpus import CpuSet
from plimsoll.model.frequency import Backend
from plimsoll.model.outcome import Outcome

T = TypeVar("T")


class Failure(NamedTuple):
    """What could not be read, of which domain or unit (``PACKAGE/DOMAIN[/CORE]``), and why."""

    what: str
    place: str
    outcome: Outcome
    errno: int


class DomainSurvey(NamedTuple):
    """
    One power domain.

    ``members``: the CPUs of each class of service. ``turbo_freq`` and ``base_freq`` are of the levels that have them.
    """

    domain: Domain
    units: tuple[Unit, ...]
    levels: PerfLevels | None
    details: tuple[PerfLevel, ...]
    core_power: CorePower | None
    classes: Mapping[int, ClosParam]
    members: Mapping[int, CpuSet]
    turbo_freq: tuple[TurboFreqInfo, ...]
    base_freq: tuple[BaseFreqInfo, ...]

    @property
    def cpus(self) -> CpuSet:
        return self.cpus_of(unit.core for unit in self.units)

    def cpus_of(self, cores: Iterable[int]) -> CpuSet:
        """The online CPUs of cores as the punit numbers them."""
        wanted = frozenset(cores)
        return frozenset(cpu for unit in self.units if unit.core in wanted for cpu in unit.cpus)


class Survey(NamedTuple):
    """A machine. ``limits``: of each package."""

    info: PlatformInfo
    generation: Backend
    domains: tuple[DomainSurvey, ...]
    limits: Mapping[int, TurboRatioLimits]
    unmapped: CpuSet
    failures: tuple[Failure, ...]


def survey(platform: Platform) -> Survey:
    """Read everything there is."""
    reader = _Reader(platform)
    domains = tuple(reader.domain(each) for each in platform.domains)
    limits = reader.limits()
    return Survey(
        platform.info, platform.generation, domains, limits, platform.unmapped, tuple(sorted(reader.failures))
    )


class _Reader:
    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._binding = platform.binding
        self._domains = {(each.package, each.domain): each for each in platform.domains}
        self._classes = self._binding.clos_params(platform.domains)
        self.failures: list[Failure] = []
        slots = [Slot(self._domains[unit.package, unit.domain], unit.core) for unit in platform.units]
        answers = zip(platform.units, self._binding.associations(slots), strict=True)
        self._associations = {unit: self._take("association", unit.name, answer) for unit, answer in answers}

    def domain(self, domain: Domain) -> DomainSurvey:
        place = domain.name
        units = tuple(unit for unit in self._platform.units if (unit.package, unit.domain) == domain[:2])
        members: dict[int, set[int]] = {}
        for unit in units:
            clos = self._associations[unit]
            if clos is not None:
                members.setdefault(clos, set()).update(unit.cpus)
        classes = {
            clos: self._take(f"class {clos}", place, answer)
            for (each, clos), answer in self._classes.items()
            if each == domain
        }
        # A die without CPUs has no performance levels to ask for.
        levels = None if domain.cpu is None else self._take("levels", place, self._binding.perf_levels(domain))
        numbers = () if levels is None else levels.levels
        details = [self._take(f"level {n}", place, self._binding.perf_level(domain, n)) for n in numbers]
        turbo = [
            self._take(f"turbo-freq of level {n}", place, self._binding.turbo_freq_info(domain, n))
            for n in numbers
            if levels is not None and n in levels.turbo_freq
        ]
        base = [
            self._take(f"base-freq of level {n}", place, self._binding.base_freq_info(domain, n))
            for n in numbers
            if levels is not None and n in levels.base_freq
        ]
        return DomainSurvey(
            domain=domain,
            units=units,
            levels=levels,
            details=_known(details),
            core_power=self._take("core-power", place, self._binding.core_power(domain)),
            classes={clos: param for clos, param in classes.items() if param is not None},
            members={clos: frozenset(cpus) for clos, cpus in sorted(members.items())},
            turbo_freq=_known(turbo),
            base_freq=_known(base),
        )

    def limits(self) -> dict[int, TurboRatioLimits]:
        """By package: the register is one for all its domains."""
        first: dict[int, Domain] = {}
        for domain in self._platform.domains:
            if domain.cpu is not None:
                first.setdefault(domain.package, domain)
        answers = zip(first.items(), self._binding.turbo_ratio_limits(tuple(first.values())), strict=True)
        found = {
            package: self._take("turbo ratio limits", domain.name, answer) for (package, domain), answer in answers
        }
        return {package: limits for package, limits in found.items() if limits is not None}

    def _take(self, what: str, place: str, answer: Answer[T]) -> T | None:
        if answer.value is None:
            self.failures.append(Failure(what, place, answer.outcome, answer.errno))
        return answer.value


def _known(values: Iterable[T | None]) -> tuple[T, ...]:
    return tuple(value for value in values if value is not None)
