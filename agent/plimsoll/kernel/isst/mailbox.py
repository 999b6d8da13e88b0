"""
The mailbox generation: Cascade Lake, Cooper Lake, Ice Lake, Sapphire Rapids, Emerald Rapids.

Commands go to the punit's mailbox; classes of service are in memory-mapped registers where the machine has that
back-end, and behind the mailbox where not. What the words of a command mean is in ``mailbox_words.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plimsoll.kernel.isst import abi
from plimsoll.kernel.isst import mailbox_words as mbox
from plimsoll.kernel.isst.abi import Request
from plimsoll.kernel.isst.binding import Slot
from plimsoll.kernel.isst.device import Device
from plimsoll.kernel.isst.mailbox_words import Call
from plimsoll.kernel.isst.msr import RatioLimits
from plimsoll.kernel.isst.state import (
    Answer,
    BaseFreqInfo,
    Buckets,
    ClosParam,
    CorePower,
    Domain,
    PerfLevel,
    PerfLevels,
    TurboFreqInfo,
    present,
)
from plimsoll.model.outcome import Outcome

_CORE_POWER = (Call(mbox.READ_PM_CONFIG), Call(mbox.CLOS_PM_QOS_CONFIG))


class Mailbox(RatioLimits):
    """
    The binding of this generation.

    ``mmio``: the machine has the register back-end. ``isa_levels``: how many instruction sets a turbo table tells
    apart, 5 on Emerald Rapids and 3 before.
    """

    def __init__(self, device: Device, *, mmio: bool, isa_levels: int = 3) -> None:
        super().__init__(device)
        self._mmio = mmio
        self._isa = isa_levels

    def perf_levels(self, domain: Domain) -> Answer[PerfLevels]:
        info = self._call(domain, Call(mbox.GET_LEVELS_INFO))
        if info.value is None:
            return info.without()
        current, highest = info.value >> 16 & 0xFF, info.value >> 8 & 0xFF
        numbers = tuple(range(highest + 1))
        controls = dict(
            zip(numbers, self._calls(domain, [Call(mbox.GET_TDP_CONTROL, n) for n in numbers]), strict=True)
        )
        here = controls.get(current, Answer(None, Outcome.MALFORMED))
        if here.value is None:
            return here.without()
        words = {number: answer.value for number, answer in controls.items() if answer.value is not None}
        return Answer(
            PerfLevels(
                version=info.value & 0xFF,
                enabled=bool(info.value >> 31),
                locked=bool(info.value >> 24 & 1),
                current=current,
                levels=tuple(words),
                turbo_freq=frozenset(number for number, word in words.items() if word & 1),
                base_freq=frozenset(number for number, word in words.items() if word & 2),
                turbo_freq_on=bool(here.value & mbox.TURBO_FREQ),
                base_freq_on=bool(here.value & mbox.BASE_FREQ),
            )
        )

    def perf_level(self, domain: Domain, level: int) -> Answer[PerfLevel]:
        calls = [Call(mbox.GET_TDP_INFO, level), Call(mbox.GET_TJMAX, level), Call(mbox.GET_P1_INFO, level)]
        calls += mbox.table(mbox.GET_CORE_MASK, level)
        calls += [call for isa in range(self._isa) for call in mbox.table(mbox.GET_TURBO_LIMIT_RATIOS, level, isa)]
        tdp, tjunction, p1, low, high, *ratios = self._calls(domain, calls)
        if tdp.value is None:
            return tdp.without()
        ratio = tdp.value >> 16 & 0xFF
        limits = self.turbo_ratio_limits([domain])[0].value
        counts = limits.core_counts if limits is not None else None
        return Answer(
            PerfLevel(
                level=level,
                tdp=tdp.value & 0x7FFF,
                tdp_ratio=ratio,
                base=present(mbox.ratios(p1)) or (mbox.MHZ * ratio,),
                tjunction_max=None if tjunction.value is None else tjunction.value & 0xFF,
                cores=mbox.core_mask(low, high),
                turbo=Buckets.filled(counts or (), mbox.ratio_rows(ratios)),
            )
        )

    def core_power(self, domain: Domain) -> Answer[CorePower]:
        config, qos = self._calls(domain, _CORE_POWER)
        if config.value is None or qos.value is None:
            return _done([config, qos])
        return Answer(mbox.core_power_of(config.value, qos.value))

    def set_core_power(self, domain: Domain, state: CorePower) -> Answer[None]:
        config, qos = self._calls(domain, _CORE_POWER)
        if config.value is None or qos.value is None:
            return _done([config, qos])
        calls = []
        if mbox.core_power_of(config.value, qos.value).enabled != state.enabled:
            calls.append(Call(mbox.WRITE_PM_CONFIG, mbox.SST_CP_ENABLE * state.enabled))
        word = mbox.qos_word(qos.value, state)
        if word != qos.value:
            calls.append(Call(mbox.CLOS_PM_QOS_CONFIG, word, mbox.WRITE))
        return _done(self._calls(domain, calls, stop=True))

    def clos_params(self, domains: Sequence[Domain]) -> dict[tuple[Domain, int], Answer[ClosParam]]:
        keys = [(domain, clos) for domain in domains for clos in abi.CLASSES]
        if self._mmio:
            words = self._registers([(domain, mbox.PM_CLOS + 4 * clos) for domain, clos in keys])
        else:
            words = self._mailboxes([(domain, Call(mbox.CLOS_PM_CLOS, 0, clos)) for domain, clos in keys])
        return {key: word.map(mbox.param_of) for key, word in zip(keys, words, strict=True)}

    def set_clos_param(self, domain: Domain, clos: int, param: ClosParam) -> Answer[None]:
        word = mbox.param_word(param)
        if self._mmio:
            return self._write_register(domain, mbox.PM_CLOS + 4 * clos, word)
        return self._call(domain, Call(mbox.CLOS_PM_CLOS, word, clos | mbox.WRITE)).without()

    def associations(self, slots: Sequence[Slot]) -> list[Answer[int]]:
        return [word.map(mbox.class_of) for word in self._association_words(slots)]

    def associate(self, slot: Slot, clos: int) -> Answer[None]:
        found = self._association_words([slot])[0]
        if found.value is None:
            return found.without()
        # The register also holds the core's RMID.
        word = mbox.in_class(found.value, clos)
        if self._mmio:
            return self._write_register(slot.domain, mbox.PQR_ASSOC + 4 * slot.core, word)
        return self._call(slot.domain, Call(mbox.CLOS_PQR_ASSOC, word, slot.core | mbox.WRITE)).without()

    def set_turbo_freq(self, domain: Domain, *, on: bool) -> Answer[None]:
        levels = self.perf_levels(domain)
        if levels.value is None:
            return levels.without()
        # One word sets both features.
        word = mbox.TURBO_FREQ * on | mbox.BASE_FREQ * levels.value.base_freq_on
        return self._call(domain, Call(mbox.SET_TDP_CONTROL, word)).without()

    def turbo_freq_info(self, domain: Domain, level: int) -> Answer[TurboFreqInfo]:
        calls = [*mbox.table(mbox.FACT_HP_NUMCORES, level), Call(mbox.FACT_LP_CLIP, level)]
        calls += [call for isa in range(self._isa) for call in mbox.table(mbox.FACT_HP_RATIOS, level, isa)]
        first, second, clip, *ratios = self._calls(domain, calls)
        if first.value is None:
            return first.without()
        counts = (*mbox.octets(first), *(mbox.octets(second) or (0,) * 4))
        buckets = Buckets.filled(counts, mbox.ratio_rows(ratios))
        return Answer(TurboFreqInfo(level, buckets, present(mbox.ratios(clip))))

    def base_freq_info(self, domain: Domain, level: int) -> Answer[BaseFreqInfo]:
        calls = [Call(mbox.PBF_P1, level), Call(mbox.PBF_TJMAX, level), Call(mbox.PBF_TDP, level)]
        p1, tjunction, tdp, low, high = self._calls(domain, [*calls, *mbox.table(mbox.PBF_CORE_MASK, level)])
        if p1.value is None:
            return p1.without()
        return Answer(
            BaseFreqInfo(
                level=level,
                high=mbox.MHZ * (p1.value >> 8 & 0xFF),
                low=mbox.MHZ * (p1.value & 0xFF),
                tjunction_max=None if tjunction.value is None else tjunction.value & 0xFF,
                tdp=None if tdp.value is None else tdp.value & 0xFFFF,
                cores=mbox.core_mask(low, high),
            )
        )

    def _call(self, domain: Domain, call: Call) -> Answer[int]:
        return self._mailboxes([(domain, call)])[0]

    def _calls(self, domain: Domain, calls: Sequence[Call], *, stop: bool = False) -> list[Answer[int]]:
        return self._mailboxes([(domain, call) for call in calls], stop=stop)

    def _mailboxes(self, calls: Sequence[tuple[Domain, Call]], *, stop: bool = False) -> list[Answer[int]]:
        sent = [abi.MboxCmd(_cpu(domain), call.parameter, call.request, 0, *call.command, 0) for domain, call in calls]
        answers = self._device.commands(Request.MBOX_COMMAND, sent, stop=stop)
        return [answer.map(lambda command: command.resp_data) for answer in answers]

    def _association_words(self, slots: Sequence[Slot]) -> list[Answer[int]]:
        if self._mmio:
            return self._registers([(slot.domain, mbox.PQR_ASSOC + 4 * slot.core) for slot in slots])
        return self._mailboxes([(slot.domain, Call(mbox.CLOS_PQR_ASSOC, 0, slot.core)) for slot in slots])

    def _registers(self, places: Sequence[tuple[Domain, int]]) -> list[Answer[int]]:
        sent = [abi.IoReg(0, _cpu(domain), register, 0) for domain, register in places]
        answers = self._device.commands(Request.IO_CMD, sent)
        return [answer.map(lambda command: command.value) for answer in answers]

    def _write_register(self, domain: Domain, register: int, word: int) -> Answer[None]:
        return self._device.commands(Request.IO_CMD, [abi.IoReg(1, _cpu(domain), register, word)])[0].without()


def _cpu(domain: Domain) -> int:
    # The domains of this generation are made of CPUs, so each has one.
    if domain.cpu is None:
        raise ValueError(f"domain {domain.name} has no CPU to reach its mailbox by")
    return domain.cpu


def _done(answers: Sequence[Answer[int]]) -> Answer[Any]:
    """The first failure of several commands, or success; without a value."""
    return next((a.without() for a in answers if a.outcome is not Outcome.OK), Answer(None))
