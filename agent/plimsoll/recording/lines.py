"""What the lines of a recording say: its header, and how a configuration and a snapshot are told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from plimsoll.config.schema import Config

FORMAT = "plimsoll-recording"
VERSION = 1
SNAPSHOT, CONFIGURATION = "snapshot", "configuration"
"""The one key of every line but the first."""
SUFFIX = ".gz"
"""How the name of a recording ends that is compressed."""


class BadRecording(ValueError):  # noqa: N818 - says what the file is
    """A file that is no recording this version can read. The text names file, line, field and what is wrong."""


class Header(NamedTuple):
    """The first line. ``version`` is the format's, ``plimsoll`` that of the program that wrote it."""

    format: str
    version: int
    plimsoll: str
    node: str


class Configured(NamedTuple):
    """The configuration in force from here on. ``where`` is file and line."""

    where: str
    sections: Mapping[str, object]

    def config(self) -> Config:
        """What it says to this version of the program. Raises BadRecording."""
        try:
            return Config.model_validate(self.sections)
        except ValueError as error:
            raise BadRecording(
                f"{self.where}: configuration: not one this version of plimsoll takes; name another with --config "
                f"({' '.join(str(error).split())[:200]})"
            ) from error


def line(value: object) -> bytes:
    """One line. Raises ValueError for a number that is not finite."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def parse(text: bytes) -> Any:
    """The value of one line. Raises ValueError."""
    try:
        return json.loads(text.decode(), parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")
