"""
The TPMI generation: Granite Rapids, Sierra Forest and later.

Every request names a package and one of its power domains; the driver speaks MHz. A failing request of this generation
comes back as ENOTTY whatever the cause, so an outcome here says refused, and not why.
"""

from __future__ import annotations

from collections.abc import Sequence

from plimsoll.kernel.isst import abi
from plimsoll.kernel.isst.abi import Request
from plimsoll.kernel.isst.binding import Slot
from plimsoll.kernel.isst.device import Device
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

_BASE_FREQ = 1 << 0
_TURBO_FREQ = 1 << 1
_NO_LIMIT = 25_500
_LEVEL_MASKS = 3  # the API version that made the support of a feature a mask of levels


class Tpmi(RatioLimits):
    """The binding of this generation; ``api_version`` is 2 or 3."""

    def __init__(self, device: Device, api_version: int) -> None:
        super().__init__(device)
        self._api = api_version

    def domains(self, package: int) -> Answer[int]:
        """The mask of a package's power domains, with holes, and with dies that have no CPUs."""
        answer = self._device.one(Request.COUNT_TPMI_INSTANCES, abi.InstanceCount(socket_id=package))
        return answer.map(lambda found: found.valid_mask)

    def perf_levels(self, domain: Domain) -> Answer[PerfLevels]:
        info = self._device.one(Request.PERF_LEVELS, abi.PerfLevelInfo(*_place(domain)))
        if info.value is None:
            return info.without()
        found = info.value
        levels = _bits(found.level_mask)
        return Answer(
            PerfLevels(
                version=found.feature_rev,
                enabled=bool(found.enabled),
                locked=bool(found.locked),
                current=found.current_level,
                levels=tuple(sorted(levels)),
                turbo_freq=self._supporting(found.sst_tf_support, levels),
                base_freq=self._supporting(found.sst_bf_support, levels),
                turbo_freq_on=bool(found.feature_state & _TURBO_FREQ),
                base_freq_on=bool(found.feature_state & _BASE_FREQ),
            )
        )

    def _supporting(self, support: int, levels: frozenset[int]) -> frozenset[int]:
        if self._api >= _LEVEL_MASKS:
            return levels & _bits(support)
        return levels if support else frozenset()

    def perf_level(self, domain: Domain, level: int) -> Answer[PerfLevel]:
        answer = self._device.one(Request.GET_PERF_LEVEL_INFO, abi.PerfLevelData(*_place(domain), level))
        if answer.value is None:
            return answer.without()
        found = answer.value
        base = (found.base_freq_mhz, found.base_freq_avx2_mhz, found.base_freq_avx512_mhz, found.base_freq_amx_mhz)
        return Answer(
            PerfLevel(
                level=level,
                tdp=found.thermal_design_power_w,
                tdp_ratio=found.tdp_ratio,
                base=present(base),
                tjunction_max=found.tjunction_max_c,
                cores=self._cores(Request.GET_PERF_LEVEL_CPU_MASK, domain, level),
                turbo=_buckets(found),
            )
        )

    def core_power(self, domain: Domain) -> Answer[CorePower]:
        answer = self._device.one(Request.CORE_POWER_STATE, abi.CorePower(0, *_place(domain)))
        if answer.value is None:
            return answer.without()
        enabled = bool(answer.value.enable)
        return Answer(CorePower(bool(answer.value.supported), enabled, bool(answer.value.priority_type), enabled))

    def set_core_power(self, domain: Domain, state: CorePower) -> Answer[None]:
        answer = self._device.one(
            Request.CORE_POWER_STATE,
            abi.CorePower(1, *_place(domain), enable=state.enabled, priority_type=state.ordered),
        )
        if answer.outcome is Outcome.OK:
            # Setting goes to the control register, reading comes from the status register.
            self._device.settle(lambda: self._stands(domain, state))
        return answer.without()

    def _stands(self, domain: Domain, state: CorePower) -> bool:
        found = self.core_power(domain).value
        return found is not None and (found.enabled, found.ordered) == (state.enabled, state.ordered)

    def clos_params(self, domains: Sequence[Domain]) -> dict[tuple[Domain, int], Answer[ClosParam]]:
        return {(domain, clos): self._clos_param(domain, clos) for domain in domains for clos in abi.CLASSES}

    def _clos_param(self, domain: Domain, clos: int) -> Answer[ClosParam]:
        answer = self._device.one(Request.CLOS_PARAM, abi.ClosParam(0, *_place(domain), clos))
        if answer.value is None:
            return answer.without()
        found = answer.value
        maximum = None if found.max_freq_mhz >= _NO_LIMIT else found.max_freq_mhz
        return Answer(ClosParam(found.prop_prio, found.min_freq_mhz, maximum))

    def set_clos_param(self, domain: Domain, clos: int, param: ClosParam) -> Answer[None]:
        maximum = _NO_LIMIT if param.maximum is None else param.maximum
        answer = self._device.one(
            Request.CLOS_PARAM, abi.ClosParam(1, *_place(domain), clos, param.minimum, maximum, param.priority)
        )
        return answer.without()

    def associations(self, slots: Sequence[Slot]) -> list[Answer[int]]:
        answers = self._device.associations([_association(slot) for slot in slots])
        return [answer.map(lambda found: found.clos) for answer in answers]

    def associate(self, slot: Slot, clos: int) -> Answer[None]:
        answer = self._device.associations([_association(slot, clos)], write=True)[0]
        return answer.without()

    def set_turbo_freq(self, domain: Domain, *, on: bool) -> Answer[None]:
        levels = self.perf_levels(domain)
        if levels.value is None:
            return levels.without()
        # One request sets both features.
        feature = _TURBO_FREQ * on | _BASE_FREQ * levels.value.base_freq_on
        answer = self._device.one(Request.PERF_SET_FEATURE, abi.PerfFeatureControl(*_place(domain), feature))
        return answer.without()

    def turbo_freq_info(self, domain: Domain, level: int) -> Answer[TurboFreqInfo]:
        answer = self._device.one(Request.GET_TURBO_FREQ_INFO, abi.TurboFreqInfo(*_place(domain), level))
        if answer.value is None:
            return answer.without()
        return Answer(TurboFreqInfo(level, _buckets(answer.value), present(answer.value.lp_clip_freq_mhz[:])))

    def base_freq_info(self, domain: Domain, level: int) -> Answer[BaseFreqInfo]:
        answer = self._device.one(Request.GET_BASE_FREQ_INFO, abi.BaseFreqInfo(*_place(domain), level))
        if answer.value is None:
            return answer.without()
        found = answer.value
        return Answer(
            BaseFreqInfo(
                level=level,
                high=found.high_base_freq_mhz,
                low=found.low_base_freq_mhz,
                tjunction_max=found.tjunction_max_c,
                tdp=found.thermal_design_power_w,
                cores=self._cores(Request.GET_BASE_FREQ_CPU_MASK, domain, level),
            )
        )

    def _cores(self, request: Request, domain: Domain, level: int) -> frozenset[int] | None:
        # The kernel answers for the punit's cores only: any other kind of map is refused.
        answer = self._device.one(request, abi.CpuMask(*_place(domain), level, punit_cpu_map=1))
        return None if answer.value is None else _bits(answer.value.mask)


def _place(domain: Domain) -> tuple[int, int]:
    return domain.package, domain.domain


def _association(slot: Slot, clos: int = 0) -> abi.ClosAssoc:
    return abi.ClosAssoc(*_place(slot.domain), slot.core, clos)


def _buckets(found: abi.PerfLevelData | abi.TurboFreqInfo) -> Buckets:
    return Buckets.filled(tuple(found.bucket_core_counts), [tuple(row) for row in found.trl_freq_mhz])


def _bits(mask: int) -> frozenset[int]:
    return frozenset(number for number in range(mask.bit_length()) if mask >> number & 1)
