"""
The node's frequencies as one observation: what can be decided, what stands, and how fast the CPUs really ran.

``source`` puts it together; ``layout`` says what a unit is here, ``registers`` what Speed Select's hardware shows,
``meter`` measures, and ``kept`` gets over a read that failed. Nothing here writes, or knows who wants what.
"""

from plimsoll.sources.frequency.source import NodeFrequency

__all__ = ["NodeFrequency"]
