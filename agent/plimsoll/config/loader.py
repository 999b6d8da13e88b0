"""
The configuration file: loaded whole or not at all, and followed while it changes.

Errors name file, line, field and cure, all of them at once. It must not apply anything: that is the daemon's.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from plimsoll.config.problem import ConfigError, Problem
from plimsoll.config.schema import Config
from plimsoll.config.yaml_text import MAX_BYTES, Document, Path, load


class Loaded(NamedTuple):
    """A new configuration that is good."""

    config: Config


class Refused(NamedTuple):
    """A new configuration that is not; the last good one stays in force."""

    problems: tuple[Problem, ...]


def load_config(path: str) -> Config:
    """Load a file. Raises ConfigError with every problem in it."""
    return parse_config(_read(path), path)


def parse_config(text: str, file: str) -> Config:
    """Check a text. An empty one means the defaults. Raises ConfigError."""
    document = load(text, file=file)
    if document.data is None:
        return Config()
    if not isinstance(document.data, dict):
        raise ConfigError((Problem(file, 1, "", "the file is not a mapping", "write `section:` lines"),))
    try:
        return Config.model_validate(document.data)
    except ValidationError as error:
        problems = tuple(_problem(each, document, file) for each in error.errors(include_url=False))
        raise ConfigError(tuple(sorted(problems, key=lambda each: each.line or 0))) from error


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            (Problem(path, None, "", f"cannot be read: {error.strerror}", "name a readable file"),)
        ) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError((Problem(path, None, "", "is not UTF-8 text", "save it as UTF-8"),)) from error


class ConfigFile:
    """
    A file that may change under us, such as a ConfigMap volume.

    Changes are told by content: the kubelet swaps a symbolic link, and the times of what is behind it mean nothing.
    """

    def __init__(self, path: str) -> None:
        """Load the file. Raises ConfigError."""
        self.path = path
        text = _read(path)
        self.config = parse_config(text, path)
        self._seen = _digest(text)
        self._emptied = False

    def poll(self) -> Loaded | Refused | None:
        """
        What changed since the last call: nothing, a good configuration, or a bad one (told once).

        One that is found empty counts if it is so the next time, too: whoever writes a file in its place empties it
        first, and an empty one turns every policy off.
        """
        try:
            text = _read(self.path)
            seen = _digest(text)
            emptied, self._emptied = self._emptied, not text.strip()
            if seen == self._seen or (self._emptied and not emptied):
                return None
            self._seen = seen
            self.config = parse_config(text, self.path)
        except ConfigError as error:
            if not os.path.exists(self.path):
                if self._seen == "":
                    return None
                self._seen = ""
            return Refused(error.problems)
        return Loaded(self.config)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _problem(error: object, document: Document, file: str) -> Problem:
    assert isinstance(error, dict)  # noqa: S101 - pydantic's ErrorDetails
    location: Path = tuple(error["loc"])
    if location and location[-1] == "[key]":
        location = location[:-1]
    line = None
    for end in range(len(location), -1, -1):
        line = document.lines.get(tuple(str(part) if isinstance(part, str) else part for part in location[:end]))
        if line is not None:
            break
    field = ".".join(str(part) for part in location)
    what, cure = _explain(error, location)
    return Problem(file, line, field, what, cure)


def _explain(error: dict[str, object], location: Path) -> tuple[str, str]:
    kind = error["type"]
    context = error.get("ctx")
    limits = context if isinstance(context, dict) else {}
    shown = repr(error.get("input"))[:60]
    if kind == "extra_forbidden":
        known = _keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        cure = f"did you mean {near[0]}?" if near else f"use one of: {', '.join(known)}"
        return "there is no such key", cure
    if kind == "missing":
        return "is missing", "add it"
    if kind in {"literal_error", "enum"}:
        return f"{shown} is not one of the values it takes", f"use one of: {limits.get('expected', '')}"
    bounds = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}
    bound = next((f"{words} {limits[each]}" for each, words in bounds.items() if each in limits), None)
    if bound is not None:
        return f"{shown} is out of range", f"use {bound}"
    if kind == "value_error":
        return f"{shown} cannot be used", str(limits.get("error", "correct it"))
    expected = str(kind).removesuffix("_type").removesuffix("_parsing").replace("_", " ")
    names = {
        "bool": "true or false",
        "int": "a whole number",
        "tuple": "a list",
        "dict": "a mapping",
        "string": "text (in quotes)",
        "model": "a mapping",
        "float": "a number",
    }
    return f"{shown} has the wrong type", f"give {names.get(expected, expected)}"


def _keys(location: Path) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        field = next((each for each in model.model_fields.values() if each.alias == part), None)
        kind = None if field is None else field.annotation
        candidates = [each for each in (kind, *getattr(kind, "__args__", ())) if isinstance(each, type)]
        nested = next((each for each in candidates if issubclass(each, BaseModel)), None)
        if nested is None:
            return []
        model = nested
    return sorted(str(each.alias) for each in model.model_fields.values())
