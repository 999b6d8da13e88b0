"""
The shell commands that the documents show, and those that tests run as they are shown.

Owns how both are found: commands in the code blocks of Markdown, runs in the text of the tests. Runs nothing (see
shell.py).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = (
    REPOSITORY / "README.md",
    *sorted(REPOSITORY.glob("docs/**/*.md")),
    REPOSITORY / "deploy/helm/plimsoll/README.md",
)
# What a fence says of a block that is for a shell; one without a fence, or without a word, is for one, too.
SHELL = frozenset({"", "sh", "bash", "shell", "console"})
_FENCE = re.compile(r"^ {0,3}```+\s*(\S*)")


class Shown(NamedTuple):
    """One command line, with its continuations and without its comment; ``page`` is relative to the repository."""

    page: str
    line: int
    text: str


def shown() -> list[Shown]:
    """All lines of all blocks that are for a shell."""
    return [
        Shown(str(page.relative_to(REPOSITORY)), number, text)
        for page in PAGES
        for number, text in command_lines(page.read_text(encoding="utf-8"))
    ]


def command_lines(markdown: str) -> Iterator[tuple[int, str]]:
    """Line number and command of each in a page's blocks."""
    begun, first = "", 0
    for number, line in _block_lines(markdown):
        first = first if begun else number
        begun += " " + line.strip()
        if begun.endswith("\\"):
            begun = begun[:-1].rstrip()
            continue
        if words := _without_comment(begun):
            yield first, words
        begun = ""
    if begun:
        raise ValueError(f"line {first}: a command that never ends: {begun}")


def in_text() -> list[Shown]:
    """What stands between backquotes in running text and begins with a program of ours, or kubectl."""
    return [
        Shown(str(page.relative_to(REPOSITORY)), number, text)
        for page in PAGES
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if not line.startswith("    ")
        for text in re.findall(r"(?<!`)`([^`]+)`", line)
        if re.match(r"(make|plimsoll|python -m|kubectl) \S", text)
    ]


def runs(file: Path) -> dict[str, str]:
    """The commands that a file's tests give to a :class:`~tests.deploy.shell.Shell`, word for word, and which test."""
    found = {}
    for function in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
            for node in ast.walk(function):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id="shell"), attr="run" | "start"),
                        args=[ast.Constant(value=str(text)), *_],
                    ):
                        found[text] = function.name
    return found


def has_test(name: str) -> bool:
    """``tests/folder/file.py::test_name`` is there."""
    path, _, function = name.partition("::")
    file = REPOSITORY / path
    if not file.is_file():
        return False
    defined = {each.name for each in ast.parse(file.read_text()).body if isinstance(each, ast.FunctionDef)}
    return function.startswith("test_") and function in defined


def _block_lines(markdown: str) -> Iterator[tuple[int, str]]:
    fence: str | None = None
    # An indented block begins after an empty line: elsewhere it would be more of a paragraph or of a list's item.
    indented, before = False, ""
    for number, line in enumerate(markdown.splitlines(), 1):
        if found := _FENCE.match(line):
            fence = found[1] if fence is None else None
        elif fence is not None:
            if fence in SHELL:
                yield number, line
        else:
            indented = line.startswith("    ") and (indented or not before.strip())
            if indented:
                yield number, line
        before = line


def _without_comment(line: str) -> str:
    """As a shell reads it: a comment begins at the start of a word, outside of quotes."""
    quote = ""
    for position, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (position == 0 or line[position - 1].isspace()):
            return line[:position].strip()
    return line.strip()
