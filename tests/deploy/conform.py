"""
JSON schemas of every kind a real API server knows, from its own OpenAPI document, for kubeconform.

Owns the translation; needs no network. Schemas are strict: what a kind does not have is an error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# What OpenAPI 2 cannot say of these: each is written as text or as a number.
_EITHER = {"oneOf": [{"type": "string"}, {"type": "number"}]}
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_PREFIX = "#/definitions/"


def write_schemas(document: Json, folder: Path) -> int:
    """One file for each kind, named as kubeconform asks for it; how many. ``document``: the server's /openapi/v2."""
    definitions = {name: _strict(each) for name, each in document["definitions"].items()}
    definitions[_QUANTITY] = _EITHER
    count = 0
    for name, each in document["definitions"].items():
        for kind in each.get("x-kubernetes-group-version-kind", ()):
            schema = {"$ref": _PREFIX + name, "definitions": _needed(name, definitions)}
            (folder / _file(kind)).write_text(json.dumps(schema))
            count += 1
    return count


def _file(kind: Json) -> str:
    """As kubeconform's ``{{.ResourceKind}}{{.KindSuffix}}``: the group's first part, and the version."""
    group = kind["group"].split(".")[0]
    return "-".join(each for each in (kind["kind"].lower(), group, kind["version"].lower()) if each) + ".json"


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return _EITHER
    made = {key: _strict(each) for key, each in schema.items()}
    # A property may itself be called "properties": then it has a "type", or a "$ref", of its own.
    if isinstance(made.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def _needed(name: str, definitions: Json) -> Json:
    """This definition and all it refers to."""
    found: Json = {}
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found[each] = definitions[each]
            waiting.extend(_references(definitions[each]))
    return found


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [name for each in schema for name in _references(each)]
    if not isinstance(schema, dict):
        return []
    own = schema.get("$ref")
    found = [own.removeprefix(_PREFIX)] if isinstance(own, str) else []
    return found + [name for each in schema.values() for name in _references(each)]
