"""
The pods of this node from the API server: list, then watch.

:class:`KubePods` is the source; the rest of the package is its inside. ``connection`` alone knows the ``kubernetes``
package, and is imported when a source is made, so that an agent on a folder of manifests does not pay for it.
"""

from __future__ import annotations

from plimsoll.sources.kube.source import KubePods
from plimsoll.sources.kube.timing import Timing

__all__ = ["KubePods", "Timing"]
