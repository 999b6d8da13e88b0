"""
The cgroups of this node's pods, followed from tick to tick: where they are, what their files say, how that changed.

:class:`PodCgroups` is the source; the rest of the package is its inside. ``lookup`` finds cgroups, ``group`` reads one,
``throttle``, ``stall_rates`` and ``cpus`` keep what a figure needs from earlier ticks, ``memory`` says what a pod's
files mean. It must not know formats (``kernel/``) nor
decide anything.
"""

from __future__ import annotations

from plimsoll.sources.cgroups.group import Scope
from plimsoll.sources.cgroups.lookup import PENDING_SECONDS, RESCAN_SECONDS
from plimsoll.sources.cgroups.source import PodCgroups

__all__ = ["PENDING_SECONDS", "RESCAN_SECONDS", "PodCgroups", "Scope"]
