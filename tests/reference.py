"""
The generated parts of the documentation: the metrics from their families, the configuration from its schema, what
checkers find from the list of what is exempted.

``python -m tests.reference`` writes them into ``docs/`` between their marks; a test holds them in step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from plimsoll.config.schema import json_schema
from plimsoll.exporter.families import FAMILIES
from tests.deploy.exemptions import EXEMPTIONS

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- made by python -m tests.reference -->", "<!-- end -->"


def metrics() -> str:
    """Every family of the agent as a table."""
    rows = ((f"`{each.name}`", each.kind, _code(each.labels), each.help) for each in FAMILIES)
    return _table(("metric", "kind", "labels", "meaning"), rows)


def exemptions() -> str:
    """What others' checkers find and why it stays, as a table."""
    head = ("checker", "check", "for", "what it misses", "why it stays")
    rows = (
        (each.checker, f"`{each.check}`", _code(sorted(each.targets)), each.about, each.reason) for each in EXEMPTIONS
    )
    return _table(head, rows)


def configuration() -> str:
    """Every section as a heading, its meaning and a table of its keys."""
    schema = json_schema()
    return "\n".join(_section((name,), each, schema["$defs"]) for name, each in schema["properties"].items())


def _section(path: tuple[str, ...], field: dict[str, object], known: dict[str, dict[str, object]]) -> str:
    section = known[_reference(field) or ""]
    nested = {name: each for name, each in section["properties"].items() if _is_section(each, known)}
    rows = (
        (
            f"`{name}`",
            _kind(each, known),
            _default(name, each, section.get("required", ())),
            each.get("description", ""),
        )
        for name, each in section["properties"].items()
        if name not in nested
    )
    meaning = " ".join(each["description"] for each in (field, section) if "description" in each)
    parts = [f"{'#' * (len(path) + 1)} `{'.'.join(path)}`", meaning, _table(_KEYS, rows)]
    parts += [_section((*path, name), each, known) for name, each in nested.items()]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


_KEYS = ("key", "value", "default", "meaning")


def _reference(field: dict[str, object]) -> str | None:
    options = [field, *field.get("anyOf", ()), *field.get("allOf", ())]
    return next((each["$ref"].rpartition("/")[2] for each in options if "$ref" in each), None)


def _is_section(field: dict[str, object], known: dict[str, dict[str, object]]) -> bool:
    return "properties" in known.get(_reference(field) or "", ())


def _kind(field: dict[str, object], known: dict[str, dict[str, object]]) -> str:
    """What a key takes, in a few words."""
    field = {**known.get(_reference(field) or "", {}), **field}
    if "enum" in field:
        return _code(field["enum"], " or ")
    if "const" in field:
        return _code([field["const"]])
    if "anyOf" in field:
        return " or ".join(_kind(each, known) for each in field["anyOf"] if each.get("type") != "null")
    if field["type"] == "array":
        return f"list of {_kind(field['items'], known)}"
    if field["type"] == "object":
        keys = _kind(field["propertyNames"], known) if "propertyNames" in field else "name"
        return f"mapping of {keys} to {_kind(field['additionalProperties'], known)}"
    if isinstance(field["type"], list):
        return _SPELLED[tuple(field["type"])]
    kinds = {"string": "text", "boolean": "`true` or `false`", "integer": "whole number", "number": "number"}
    return kinds[field["type"]] + _bounds(field)


_SPELLED = {("string", "number"): "duration", ("string", "integer"): "quantity"}


def _bounds(field: dict[str, object]) -> str:
    if "exclusiveMinimum" in field:
        most = f", at most {field['maximum']}" if "maximum" in field else ""
        return f", more than {field['exclusiveMinimum']}{most}"
    return f", {field['minimum']} to {field['maximum']}" if "minimum" in field else ""


def _default(name: str, field: dict[str, object], required: Iterable[str]) -> str:
    if name in required:
        return "required"
    value = field.get("default", {} if field.get("type") == "object" else None)
    if value is None:
        return "none"
    if field.get("type") == ["string", "number"]:
        return f"`{value:g}s`"
    return f"`{json.dumps(value)}`"


def _code(values: Iterable[str], between: str = ", ") -> str:
    return between.join(f"`{each}`" for each in values)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


PAGES: dict[str, Callable[[], str]] = {
    "metrics.md": metrics,
    "configuration.md": configuration,
    "security.md": exemptions,
}


def in_step(text: str, made: str) -> str:
    """A page's text with what stands between its marks made anew. Raises ValueError for a page without them."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


def main() -> int:
    for name, make in PAGES.items():
        path = DOCS / name
        path.write_text(in_step(path.read_text(), make()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
