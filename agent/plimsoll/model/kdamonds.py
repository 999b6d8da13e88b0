"""
How the node's kdamonds, the kernel's data access monitors, are spelled as a knob.

Their tree in sysfs is one for everybody, and its size can only be changed while none of them runs: so it is taken whole
or left alone. One more than there are workers never runs; it bears our mark.
"""

from __future__ import annotations

WORKERS = 16
"""As many containers can be watched at once."""

OWNER = "plimsoll"
NONE = "0"
CLAIMED = f"{WORKERS + 1} {OWNER}"
UNMARKED = str(WORKERS + 1)
"""What stands there between the two writes of CLAIMED."""
