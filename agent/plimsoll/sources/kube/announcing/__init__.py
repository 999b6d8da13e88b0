"""
What pods' owners would want to know, told in their cluster: Kubernetes Events and, if wanted, conditions of the pods.

:class:`Announcer` is the door. ``notice`` says what a tick has to say, ``truth`` what of it lasts, ``ledger`` what is
to be told and when; all of these are pure, in whatever time they are given. ``objects`` spells it, ``poster`` sends it.
"""

from __future__ import annotations

from plimsoll.sources.kube.announcing.announcer import Announcer
from plimsoll.sources.kube.announcing.limits import Limits

__all__ = ["Announcer", "Limits"]
