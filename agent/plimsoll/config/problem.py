"""What is wrong with a text an administrator wrote: where, what, and what to do."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """One mistake. ``line`` counts from 1, ``None`` when the whole file is meant; ``field`` is a dotted path."""

    file: str
    line: int | None
    field: str
    what: str
    cure: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        field = f"{self.field}: " if self.field else ""
        return f"{place}: {field}{self.what}, {self.cure}"


class ConfigError(Exception):
    """A configuration that cannot be used, with every problem found in it."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))
