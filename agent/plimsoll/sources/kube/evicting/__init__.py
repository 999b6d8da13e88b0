"""
Pods evicted through the API server, so that PodDisruptionBudgets are heeded.

:class:`Evictor` is the door. ``eviction`` spells what is asked and says what an answer means; it is pure.
"""

from __future__ import annotations

from plimsoll.sources.kube.evicting.evictor import Evictor, Limits

__all__ = ["Evictor", "Limits"]
