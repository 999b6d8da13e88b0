"""
The pods of this node from the API server: list, then watch. And what their owners are told there.

:class:`KubePods` is the source, ``announcing`` tells; the rest of the package is their inside. ``connection`` alone
knows the ``kubernetes`` package, and is imported when one of them is made, so that an agent on a folder of manifests
does not pay for it.
"""

from __future__ import annotations

from plimsoll.sources.kube.source import KubePods
from plimsoll.sources.kube.timing import Timing

__all__ = ["KubePods", "Timing"]
