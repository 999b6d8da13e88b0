"""Kubernetes' strategic merge patch, as far as events and the conditions of pods need it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

# The lists whose elements have a key, and so are merged one by one; any other list is replaced.
_KEYS: Mapping[str, str] = {"conditions": "type"}


class Invalid(Exception):  # noqa: N818 - Kubernetes calls it a state: 422 Invalid
    """An object that no API server would store: ``field`` is what is wrong with it."""

    def __init__(self, field: str) -> None:
        super().__init__(f"Invalid value: {field}")
        self.field = field


def merged(value: object, patch: object, name: str = "") -> Any:
    """``value`` with ``patch`` applied; neither is changed. ``name``: of the field that has the value."""
    if isinstance(patch, dict):
        before = value if isinstance(value, dict) else {}
        after = {key: each for key, each in before.items() if key not in patch}
        return after | {key: merged(before.get(key), each, key) for key, each in patch.items() if each is not None}
    if isinstance(patch, list) and name in _KEYS:
        return _elements(value if isinstance(value, list) else [], patch, _KEYS[name])
    return patch


def _elements(before: list[Json], patch: list[Json], key: str) -> list[Json]:
    news = {each[key]: each for each in patch}
    after = [merged(each, news.pop(each[key])) if each[key] in news else each for each in before]
    return [*news.values(), *after]  # as the real server does
