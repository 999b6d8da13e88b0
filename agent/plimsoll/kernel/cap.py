"""
Whether a ceiling of cpufreq is held down by something that passes: heat, or the firmware.

``scaling_max_freq`` shows the lowest of all that is asked for. What somebody wrote there before us and what a cooling
device asks for just now cannot be told apart by it, but a cooling device says itself that it is at work. Reads only.
"""

from __future__ import annotations

import re
from typing import Final

from plimsoll.kernel.hostfs import HostFs
from plimsoll.kernel.topology import read_integer

_THERMAL: Final = "sys/class/thermal"
_DEVICE: Final = re.compile(r"cooling_device[0-9]{1,4}", re.ASCII)
# ACPI's, and that of drivers/thermal/cpufreq_cooling.c under its two names.
_OF_CPUS: Final = re.compile(r"Processor|(thermal-)?cpufreq-.{1,16}", re.ASCII)


def lifted(host: HostFs, folder: str, text: str) -> str:
    """
    The ceiling (kHz) to put back some day in a policy's ``folder`` that shows ``text`` now.

    The hardware's own where what stands there is lower and a passing cap is at work, or it would be made to last;
    otherwise what stands there: somebody wants it so.
    """
    highest = read_integer(host, f"{folder}/cpuinfo_max_freq")
    line = text.partition("\n")[0].strip()
    if highest is None or not line.isdecimal() or int(line) >= highest:
        return text
    # acpi-cpufreq only: what the firmware allows just now (_PPC).
    limit = read_integer(host, f"{folder}/bios_limit")
    passing = (limit is not None and 0 < limit < highest) or _cooled(host)
    return str(highest) if passing else text


def _cooled(host: HostFs) -> bool:
    """Whether any cooling device of CPUs is at work. Which CPUs it is about no file says."""
    for name in host.names(_THERMAL).names:
        if not _DEVICE.fullmatch(name):
            continue
        kind = (host.read(f"{_THERMAL}/{name}/type").text() or "").strip()
        if _OF_CPUS.fullmatch(kind) and (read_integer(host, f"{_THERMAL}/{name}/cur_state") or 0) > 0:
            return True
    return False
