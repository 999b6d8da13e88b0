"""
What ``/status.json`` says, as lines for a terminal: pods by priority with their pressure, and what is missing.

Pure: plain data in, lines out. The data came over HTTP, so every field is checked before it is shown (``fields``); what
is missing or of another kind is shown as unknown. ``pods`` is the table, ``notes`` the lines below it.
"""

from __future__ import annotations

from plimsoll.status_view.picture import view

__all__ = ["view"]
