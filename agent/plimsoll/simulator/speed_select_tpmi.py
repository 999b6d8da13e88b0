"""
The ioctls of the TPMI generation that switch and associate, with the kernel's checks in the kernel's order.

Owns core power, classes of service, associations, levels and features by (package, power domain). What a level offers
is told by speed_select_tpmi_info.py. Failures are raised as the errno the driver meant; speed_select.py folds them.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable

from plimsoll.simulator.speed_select_commands import failure
from plimsoll.simulator.speed_select_hardware import CLASSES, SLOTS, Domain, Hardware
from plimsoll.simulator.speed_select_kernel import Call, Kernel, KernelOopsError, Target
from plimsoll.simulator.speed_select_machine import NO_LIMIT

CORE_POWER_STATE, CLOS_PARAM, CLOS_ASSOC = 0xC008FE06, 0xC008FE07, 0xC008FE08
PERF_SET_LEVEL, PERF_SET_FEATURE = 0x4008FE0A, 0x4008FE0B
_POWER, _PARAM, _CONTROL = struct.Struct("<6B"), struct.Struct("<4BHHBx"), struct.Struct("<3B")
_ASSOC_HEAD, _ASSOC = struct.Struct("<3H"), struct.Struct("<2B2H")
_MHZ = 100


class Tpmi:
    """The requests of one machine under one kernel."""

    def __init__(self, hardware: Hardware, kernel: Kernel) -> None:
        self._hardware = hardware
        self._machine = hardware.machine
        self._kernel = kernel
        # By domain: how many reads of the status are still to show the state before, and what then comes.
        self._pending: dict[int, tuple[int, Callable[[], object]]] = {}

    def calls(self) -> dict[int, Call]:
        """By request number."""
        power = Call("CORE_POWER_STATE", 0, _POWER.size, _power_target, self._power, folded=True)
        param = Call("CLOS_PARAM", 0, _PARAM.size, _param_target, self._param, folded=True)
        assoc = Call("CLOS_ASSOC", _ASSOC_HEAD.size, _ASSOC.size, _assoc_target, self._assoc, "<H", folded=True)
        level = Call("PERF_SET_LEVEL", 0, _CONTROL.size, _control("level"), self._set_level, folded=True)
        feature = Call("PERF_SET_FEATURE", 0, _CONTROL.size, _control("features"), self._set_feature, folded=True)
        return {
            CORE_POWER_STATE: power,
            CLOS_PARAM: param,
            CLOS_ASSOC: assoc,
            PERF_SET_LEVEL: level,
            PERF_SET_FEATURE: feature,
        }

    def domain(self, package: int, number: int) -> Domain:
        """The domain addressed. Raises OSError (EINVAL) where there is none."""
        found = self._hardware.domains.get((package, number))
        if found is None:
            raise failure(errno.EINVAL)
        return found

    def settle(self, domain: Domain) -> None:
        """Count one read of the domain's status."""
        left, apply = self._pending.get(id(domain), (0, None))
        if apply is None:
            return
        if left:
            self._pending[id(domain)] = left - 1, apply
        else:
            del self._pending[id(domain)]
            apply()

    def _switch(self, domain: Domain, apply: Callable[[], object]) -> None:
        # Whether the hardware takes it or not, the driver has written the control register and is content.
        if self._kernel.lag:
            self._pending[id(domain)] = self._kernel.lag, apply
        else:
            apply()

    def _check_write(self) -> None:
        if self._kernel.write_blocked or not self._kernel.sys_admin:
            raise failure(errno.EPERM)

    def _check_hwp(self) -> None:
        if not self._kernel.hwp:
            raise failure(errno.EFAULT)

    def _power(self, _head: bytes, raw: bytes) -> bytes | None:
        write, package, number, enable, _, ordered = _POWER.unpack(raw)
        if write:
            self._check_hwp()
        domain = self.domain(package, number)
        if not write:
            self.settle(domain)
            return _POWER.pack(write, package, number, domain.enabled, self._machine.core_power, domain.ordered)
        self._check_write()
        if enable > 1 or ordered > 1:
            raise failure(errno.EINVAL)
        self._switch(
            domain,
            lambda: self._hardware.set_core_power(domain, enabled=bool(enable), ordered=bool(ordered), qos=0),
        )
        return None

    def _param(self, _head: bytes, raw: bytes) -> bytes | None:
        write, package, number, clos, low, high, weight = _PARAM.unpack(raw)
        if clos >= CLASSES:
            raise failure(errno.EINVAL)
        domain = self.domain(package, number)
        word = domain.clos[clos]
        if not write:
            low, high, weight = (word >> 8 & 0xFF) * _MHZ, (word >> 16 & 0xFF) * _MHZ, word >> 4 & 0xF
            return _PARAM.pack(write, package, number, clos, low, high, weight)
        self._check_write()
        if low // _MHZ > NO_LIMIT or high // _MHZ > NO_LIMIT or weight > 15:
            raise failure(errno.EINVAL)
        # The other bits of the register are left as they are.
        domain.clos[clos] = word & ~0x00FFFFF0 | high // _MHZ << 16 | low // _MHZ << 8 | weight << 4
        return None

    def _assoc(self, head: bytes, raw: bytes) -> bytes | None:
        _, write, punit_map = _ASSOC_HEAD.unpack(head)
        package, number, core, clos = _ASSOC.unpack(raw)
        if clos >= CLASSES or package >= self._machine.packages or core >= SLOTS:
            raise failure(errno.EINVAL)
        if not punit_map:
            raise failure(errno.EOPNOTSUPP)
        if number in self._machine.missing_domains:
            # The only request whose driver code does not look whether the domain is mapped.
            raise KernelOopsError(f"association in the missing power domain {package}/{number}")
        domain = self.domain(package, number)
        if write:
            self._check_write()
            domain.assoc[core] = clos
            return None
        return _ASSOC.pack(package, number, core, domain.assoc[core])

    def _set_level(self, _head: bytes, raw: bytes) -> None:
        self._check_hwp()
        package, number, level = _CONTROL.unpack(raw)
        domain = self.domain(package, number)
        if level >= len(self._machine.levels):
            raise failure(errno.EINVAL)
        self._check_write()
        if self._hardware.perf_level(level) is None or level == domain.level:
            raise failure(errno.EINVAL)
        # The driver waits for the status to follow; a locked level never does.
        if not self._hardware.set_level(package, domain, level):
            raise failure(errno.EFAULT)

    def _set_feature(self, _head: bytes, raw: bytes) -> None:
        self._check_hwp()
        package, number, features = _CONTROL.unpack(raw)
        domain = self.domain(package, number)
        self._check_write()
        if features & ~3:
            raise failure(errno.EINVAL)
        self._switch(domain, lambda: self._hardware.set_features(domain, features))


def _power_target(_head: bytes, raw: bytes) -> Target:
    write, package, number, enable, _, ordered = _POWER.unpack(raw)
    return Target(package, number, "core-power", bool(write), enable | ordered << 1 if write else 0)


def _param_target(_head: bytes, raw: bytes) -> Target:
    write, package, number, clos, low, high, weight = _PARAM.unpack(raw)
    value = weight << 4 | low // _MHZ << 8 | high // _MHZ << 16
    return Target(package, number, f"clos/{clos}", bool(write), value if write else 0)


def _assoc_target(head: bytes, raw: bytes) -> Target:
    _, write, _ = _ASSOC_HEAD.unpack(head)
    package, number, core, clos = _ASSOC.unpack(raw)
    return Target(package, number, f"assoc/{core}", bool(write), clos if write else 0)


def _control(register: str) -> Callable[[bytes, bytes], Target]:
    def target(_head: bytes, raw: bytes) -> Target:
        package, number, value = _CONTROL.unpack(raw)
        return Target(package, number, register, write=True, value=value)

    return target
