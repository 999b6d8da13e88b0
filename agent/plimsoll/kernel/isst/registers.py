"""
The registers of Speed Select that may be written, each by an address and a line of text.

So they can stand in a journal, be compared, and be put back bit by bit. What would leave the hardware in a state it
does not allow is refused here; whether a value is wanted, and reading it back, is the business of others.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping

from plimsoll.kernel.hostfs import Reading
from plimsoll.kernel.isst import spelling
from plimsoll.kernel.isst.abi import CLASSES
from plimsoll.kernel.isst.binding import Slot
from plimsoll.kernel.isst.platform import Platform
from plimsoll.kernel.isst.state import Answer, Domain
from plimsoll.model.frequency import Backend
from plimsoll.model.outcome import Outcome
from plimsoll.model.plan import Knob

_ADDRESS = re.compile(r"(\d{1,3})(?:/(\d{1,2})(?:/(\d{1,3}))?)?", re.ASCII)
_PARTS = {
    Knob.CLOS_ASSOCIATION: 3,
    Knob.CLOS_PARAMETERS: 3,
    Knob.CORE_POWER: 1,
    Knob.TURBO_FREQUENCY: 1,
    Knob.TURBO_LIMITS: 1,
}
REGISTERS = frozenset(_PARTS)
# The feature is not there, as opposed to an answer that could not be had just now.
_ABSENT = frozenset({Outcome.UNSUPPORTED, Outcome.REJECTED})


class Registers:
    """
    The registers of one machine, as it was found.

    Addresses: ``PACKAGE/DOMAIN/CORE`` of an association, ``PACKAGE/DOMAIN/CLASS`` of a class's parameters, ``PACKAGE``
    of the others. Where the power domains of a package differ, its text is a list of them all.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._binding = platform.binding
        self._mailbox = platform.generation is Backend.MAILBOX
        self._domains = {(each.package, each.domain): each for each in platform.domains}

    def read(self, knob: Knob, address: str) -> Reading:
        """
        What stands there, as one line; MISSING where this machine has no such register, OFFLINE where it may have one
        that is out of reach until CPUs come on line again.
        """
        place = self._place(knob, address)
        if place is None:
            return Reading(None, self._absent(knob, address))
        package, domain, number = place
        if knob is Knob.CLOS_ASSOCIATION and domain is not None:
            return _reading(self._binding.associations([Slot(domain, number)])[0].map(str))
        if knob is Knob.CLOS_PARAMETERS and domain is not None:
            return _reading(self._binding.clos_params([domain])[domain, number].map(spelling.format_param))
        return self._read_package(knob, package)

    def read_all(self, knob: Knob) -> Mapping[str, Reading]:
        """Every register of a kind that belongs to an online unit, a domain or a package, by its address."""
        if knob is Knob.CLOS_ASSOCIATION:
            units = self._platform.units
            slots = [Slot(self._domains[unit.package, unit.domain], unit.core) for unit in units]
            answers = self._binding.associations(slots)
            return {unit.name: _reading(each.map(str)) for unit, each in zip(units, answers, strict=True)}
        if knob is Knob.CLOS_PARAMETERS:
            found = self._binding.clos_params(self._platform.domains)
            return {
                f"{place.name}/{clos}": _reading(a.map(spelling.format_param)) for (place, clos), a in found.items()
            }
        return {str(package): self._read_package(knob, package) for package in self._platform.packages}

    def write(self, knob: Knob, address: str, text: str) -> tuple[Outcome, int]:
        """
        Set a register: the outcome and its errno, 0 where no system call failed.

        REJECTED with no errno: core-power would go off under turbo-freq, or turbo-freq on without core-power. With
        EINVAL: the text is no value of this register. OK says the hardware took it, not that it keeps it.
        """
        place = self._place(knob, address)
        if place is None:
            return self._absent(knob, address), 0
        package, domain, number = place
        try:
            if knob is Knob.CLOS_ASSOCIATION and domain is not None:
                answer = self._binding.associate(Slot(domain, number), spelling.parse_class(text))
            elif knob is Knob.CLOS_PARAMETERS and domain is not None:
                param = spelling.parse_param(text, mailbox=self._mailbox)
                answer = self._binding.set_clos_param(domain, number, param)
            else:
                answer = self._write_package(knob, package, text)
        except ValueError:
            return Outcome.REJECTED, errno.EINVAL
        return answer.outcome, answer.errno

    def _absent(self, knob: Knob, address: str) -> Outcome:
        partly = self._platform.partly and _parsed(knob, address) is not None
        return Outcome.OFFLINE if partly else Outcome.MISSING

    def _place(self, knob: Knob, address: str) -> tuple[int, Domain | None, int] | None:
        """Package, domain and core or class of an address. A core that is off line still has its register."""
        match = _parsed(knob, address)
        if match is None:
            return None
        package, number = int(match[1]), int(match[3] or 0)
        if _PARTS[knob] == 1:
            return (package, None, 0) if self._with_cpus(package) else None
        domain = self._domains.get((package, int(match[2])))
        if domain is None or (knob is Knob.CLOS_ASSOCIATION and domain.cpu is None):
            return None
        return (package, domain, number) if knob is Knob.CLOS_ASSOCIATION or number in CLASSES else None

    def _with_cpus(self, package: int) -> tuple[Domain, ...]:
        return tuple(domain for domain in self._platform.of_package(package) if domain.cpu is not None)

    def _of(self, knob: Knob, package: int) -> tuple[Domain, ...]:
        """The domains of a package that a register of the package is in."""
        # Core-power is wanted on I/O dies, too. They have neither performance levels nor CPUs to reach an MSR by.
        return self._platform.of_package(package) if knob is Knob.CORE_POWER else self._with_cpus(package)

    def _read_package(self, knob: Knob, package: int) -> Reading:
        domains = self._of(knob, package)
        texts: dict[int, str] = {}
        for domain, answer in zip(domains, self._texts(knob, domains), strict=True):
            if answer.value is None:
                return _reading(answer)
            texts[domain.domain] = answer.value
        return _reading(Answer(spelling.format_domains(texts)))

    def _texts(self, knob: Knob, domains: tuple[Domain, ...]) -> list[Answer[str]]:
        if knob is Knob.CORE_POWER:
            return [self._binding.core_power(each).map(spelling.format_core_power) for each in domains]
        if knob is Knob.TURBO_FREQUENCY:
            levels = [self._binding.perf_levels(each) for each in domains]
            return [each.map(lambda found: spelling.format_switch(found.turbo_freq_on)) for each in levels]
        limits = self._binding.turbo_ratio_limits(domains)
        return [each.map(lambda found: spelling.format_limits(found.word)) for each in limits]

    def _write_package(self, knob: Knob, package: int, text: str) -> Answer[None]:
        """All domains are tried, so that as much as can be stands as wanted; the first failure is the answer."""
        domains = {domain.domain: domain for domain in self._of(knob, package)}
        texts = spelling.parse_domains(text, frozenset(domains))
        refusal, write = self._writing(knob, package, {domains[number]: each for number, each in texts.items()})
        if refusal is not None:
            return refusal
        answers = [write(domain) for domain in domains.values()]
        return next((each for each in answers if each.outcome is not Outcome.OK), Answer(None))

    def _writing(
        self, knob: Knob, package: int, texts: Mapping[Domain, str]
    ) -> tuple[Answer[None] | None, Callable[[Domain], Answer[None]]]:
        """Why a register of the package must not be written so, and how one of its domains is."""
        binding = self._binding
        if knob is Knob.CORE_POWER:
            states = {d: spelling.parse_core_power(text, mailbox=self._mailbox) for d, text in texts.items()}
            refusal = None if all(each.effective for each in states.values()) else self._turbo_freq_in_the_way(package)
            return refusal, lambda domain: binding.set_core_power(domain, states[domain])
        if knob is Knob.TURBO_FREQUENCY:
            wanted = {domain: spelling.parse_switch(text) for domain, text in texts.items()}
            refusal = self._core_power_lacking(package) if any(wanted.values()) else None
            return refusal, lambda domain: binding.set_turbo_freq(domain, on=wanted[domain])
        limits = {domain: spelling.parse_limits(text) for domain, text in texts.items()}
        return None, lambda domain: binding.set_turbo_ratio_limits(domain, limits[domain])

    def _turbo_freq_in_the_way(self, package: int) -> Answer[None] | None:
        """Without core-power turbo-freq has no cores to favour. The kernel does not see to it with TPMI."""
        for domain in self._with_cpus(package):
            levels = self._binding.perf_levels(domain)
            if levels.value is None:
                if levels.outcome not in _ABSENT:
                    return levels.without()
            elif levels.value.turbo_freq_on:
                return Answer(None, Outcome.REJECTED)
        return None

    def _core_power_lacking(self, package: int) -> Answer[None] | None:
        for domain in self._with_cpus(package):
            found = self._binding.core_power(domain)
            if found.value is None:
                return found.without()
            if not found.value.effective:
                return Answer(None, Outcome.REJECTED)
        return None


def _parsed(knob: Knob, address: str) -> re.Match[str] | None:
    match = _ADDRESS.fullmatch(address)
    if match is None or len([part for part in match.groups() if part is not None]) != _PARTS.get(knob):
        return None
    return match


def _reading(answer: Answer[str]) -> Reading:
    data = None if answer.value is None else f"{answer.value}\n".encode("ascii")
    return Reading(data, answer.outcome, answer.errno)
