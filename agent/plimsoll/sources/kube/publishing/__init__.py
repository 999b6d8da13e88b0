"""
What overcommit makes available, published as an extended resource of the node.

:class:`Publisher` is the door: a thread of its own. ``publication`` says what is to be written when, without I/O;
``node_status`` spells it, sends it and says what came of it.
"""

from __future__ import annotations

from plimsoll.sources.kube.publishing.publication import Limits
from plimsoll.sources.kube.publishing.publisher import Publisher

__all__ = ["Limits", "Publisher"]
