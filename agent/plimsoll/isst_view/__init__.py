"""
What Speed Select says of a machine, as lines for a person and as data for programs (``plimsoll isst show``).

It must not know how anything was read. Frequencies are MHz.
"""

from plimsoll.isst_view.facts import isst_facts
from plimsoll.isst_view.lines import isst_lines

__all__ = ["isst_facts", "isst_lines"]
