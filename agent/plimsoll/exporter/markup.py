"""
HTML that cannot be forgotten to be escaped: text is text unless it is :class:`Html` already.

It must not know what any page shows.
"""

from __future__ import annotations

import html
from collections.abc import Iterable


class Html(str):
    """Finished markup."""

    __slots__ = ()


NOTHING = Html("")


def markup(template: str, *values: object) -> Html:
    """``template.format(*values)``, with every value escaped that is not :class:`Html`; ``None`` is nothing."""
    return Html(template.format(*map(_safe, values)))


def joined(parts: Iterable[Html], between: str = "") -> Html:
    """Finished parts in a row; ``between`` is text."""
    return Html(html.escape(between).join(parts))


def stranger(text: str) -> Html:
    """Text that someone outside wrote, held apart: a right-to-left mark in it turns nothing around it."""
    return Html(f"<bdi>{html.escape(text)}</bdi>")


def _safe(value: object) -> str:
    if isinstance(value, Html):
        return value
    return "" if value is None else html.escape(str(value))
