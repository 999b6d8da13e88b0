"""
YAML from people and from ConfigMaps: plain data with line numbers, and nothing that could hurt the agent.

PyYAML's safe loader alone takes the last of two equal keys without a word and expands aliases without a bound; both are
refused here, before anything is built. It must not know what the data mean.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import NamedTuple

import yaml

from plimsoll.config.problem import ConfigError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_ALIASES = 100

Path = tuple[str | int, ...]


class Document(NamedTuple):
    """One document: its data, and the line each field stands on."""

    data: object
    lines: dict[Path, int]


def load(text: str, *, file: str) -> Document:
    """The one document of a file; an empty file is ``None``. Raises ConfigError."""
    documents = load_all(text, file=file)
    if len(documents) > 1:
        raise _error(file, documents[1].lines.get(()), "a second document begins here", "keep one in this file")
    return documents[0] if documents else Document(None, {})


def load_all(text: str, *, file: str) -> tuple[Document, ...]:
    """Every document of a file. Raises ConfigError for what is not plain, bounded YAML."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise _error(file, None, "the file is larger than 1 MiB", "split it")
    try:
        _check_events(text, file)
        return tuple(_build(node, file) for node in yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        raise _error(file, line, f"not YAML: {error.problem or error.context}", "correct the syntax") from error
    except yaml.YAMLError as error:
        raise _error(file, None, "not YAML: it holds a character YAML does not allow", "save it as UTF-8") from error


def _check_events(text: str, file: str) -> None:
    depth = aliases = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = _line(event)
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
            if depth > MAX_DEPTH:
                raise _error(file, line, f"nested deeper than {MAX_DEPTH} levels", "flatten it")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            if aliases > MAX_ALIASES:
                raise _error(file, line, f"more than {MAX_ALIASES} aliases", "write the values out")


def _build(node: yaml.Node, file: str) -> Document:
    lines: dict[Path, int] = {}
    budget = iter(range(200_000))
    return Document(_value(node, (), lines, file, budget), lines)


def _value(node: yaml.Node, path: Path, lines: dict[Path, int], file: str, budget: Iterator[int]) -> object:
    line = _line(node)
    # An alias is the same node again: few aliases of aliases still make billions of values.
    if next(budget, None) is None:
        raise _error(file, line, "the aliases expand to more than 200,000 values", "write the values out")
    # An alias within what it names is a circle: the text is shallow, the value has no end.
    if len(path) > MAX_DEPTH:
        raise _error(file, line, f"the aliases nest deeper than {MAX_DEPTH} levels", "write the values out")
    lines.setdefault(path, line)
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, (*path, index), lines, file, budget) for index, each in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[object, object] = {}
        for key_node, value_node in node.value:
            key = _scalar(key_node, file)
            key_line = _line(key_node)
            if key in mapping:
                first = lines.get((*path, str(key)))
                raise _error(
                    file, key_line, f"the key {key!r} stands twice (first on line {first})", "keep one of them"
                )
            mapping[key] = _value(value_node, (*path, str(key)), lines, file, budget)
            lines[*path, str(key)] = key_line
        return mapping
    return _scalar(node, file)


def _scalar(node: yaml.Node, file: str) -> Hashable:
    line = _line(node)
    if not isinstance(node, yaml.ScalarNode):
        raise _error(file, line, "a key is a list or a mapping", "use a plain key")
    constructor = yaml.constructor.SafeConstructor.yaml_constructors.get(node.tag)
    if constructor is None or node.tag == "tag:yaml.org,2002:merge":
        raise _error(file, line, f"the tag or merge key {node.tag!r} is not supported", "write plain values")
    try:
        value: Hashable = constructor(yaml.constructor.SafeConstructor(), node)
    except (ValueError, yaml.YAMLError) as error:
        raise _error(file, line, f"{node.value[:40]!r} is not a value", "quote it if it is text") from error
    return value


def _line(what: yaml.Node | yaml.Event) -> int:
    mark = what.start_mark
    return 1 if mark is None else mark.line + 1


def _error(file: str, line: int | None, what: str, cure: str) -> ConfigError:
    return ConfigError((Problem(file, line, "", what, cure),))
