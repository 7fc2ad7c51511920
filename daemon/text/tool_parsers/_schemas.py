"""What a tool's schema says of its parameters, for formats that write values without quotes."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# parameter → JSON types that it may have; a parameter that is not in it may have any
Types = Mapping[str, frozenset[str]]
ToolTypes = Mapping[str, Types]  # by tool name
STRING = frozenset({"string"})
MAX_LOOKS = 200  # at parts of a schema, for one parameter: parts may refer to each other
MAX_REFERENCES = 32  # that lead to each other

_NAMES = {
    "str": "string", "text": "string", "int": "integer", "float": "number", "double": "number",
    "bool": "boolean", "dict": "object", "list": "array", "none": "null",
}  # fmt: skip
_VALUES = {
    type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string",
    list: "array", dict: "object",
}  # fmt: skip


class Declared(ToolTypes):
    """Tool name → types of its parameters. A schema is looked at when a call of its tool comes: a
    request may have very many. `tools` as in OpenAI's chat API; what has no such shape says
    nothing."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._schemas: dict[str, object] = {}
        self._known: dict[str, Types] = {}
        for tool in tools:
            function = tool.get("function", tool)
            if isinstance(function, Mapping) and isinstance(name := function.get("name"), str):
                self._schemas[name] = function.get("parameters")

    def __getitem__(self, name: str) -> Types:
        if name not in self._known:
            self._known[name] = parameter_types(self._schemas[name])
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._schemas)

    def __len__(self) -> int:
        return len(self._schemas)


def parameter_types(schema: object) -> Types:
    """Of what a tool's schema says."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    named = properties.items() if isinstance(properties, Mapping) else ()
    return {key: types for key, value in named if (types := _types(value, schema, [MAX_LOOKS]))}


def resolved(schema: object, root: object) -> object:
    """What a schema that is a reference within `root` refers to; the schema itself if it is none,
    or the reference leads nowhere, or too far."""
    place = schema
    for _ in range(MAX_REFERENCES):
        if not (isinstance(place, Mapping) and isinstance(ref := place.get("$ref"), str)):
            return place
        place = root
        for step in ref.removeprefix("#").strip("/").split("/"):
            place = place.get(step) if isinstance(place, Mapping) else None
        if place is None:
            return schema
    return schema


def _types(schema: object, root: object, left: list[int]) -> frozenset[str]:
    """Empty when the schema says nothing of types, or it takes more than the looks that are `left`
    to find out."""
    left[0] -= 1
    schema = resolved(schema, root)
    if not isinstance(schema, Mapping) or left[0] < 0:
        return frozenset()
    if "type" in schema:
        named = schema["type"]
        names = named if isinstance(named, list) else [named]
        return frozenset(_NAMES.get(str(n).lower(), str(n).lower()) for n in names[:MAX_LOOKS])
    if isinstance(values := schema.get("enum"), list):
        return frozenset(_VALUES.get(type(value), "string") for value in values[:MAX_LOOKS])
    for key in ("anyOf", "oneOf"):
        if isinstance(choices := schema.get(key), list):
            found: set[str] = set()
            for choice in choices:
                types = _types(choice, root, left)
                if not types:
                    return frozenset()
                found |= types
            return frozenset(found)
    return frozenset()


def json_value(text: str, types: frozenset[str]) -> str:
    """The JSON text of a value that a model wrote as plain text. Always valid: what cannot be any
    of `types` (empty: any) becomes a string."""
    value = text.strip()
    if ("null" in types or types != STRING) and value.lower() in ("null", "none"):
        return "null"
    if "boolean" in types and value.lower() in ("true", "false"):
        return value.lower()
    if not types or types & {"integer", "number", "object", "array", "boolean"}:
        parsed = _parsed(value)
        if parsed is not None and _fits(parsed, types):
            if isinstance(parsed, float) and parsed.is_integer() and "number" not in types:
                parsed = int(parsed)
            return json.dumps(parsed, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False)


def _fits(value: object, types: frozenset[str]) -> bool:
    kind = _VALUES.get(type(value))
    if kind is None or kind == "string":
        return False
    if kind == "integer" and "number" in types:
        return True
    if isinstance(value, float) and value.is_integer() and "integer" in types:
        return True
    return not types or kind in types


def _parsed(text: str) -> object:
    """JSON, or the Python literals that models write instead; None for anything else."""
    for read in (_read_json, ast.literal_eval):
        try:
            value = read(text)
            json.dumps(value, allow_nan=False)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return value
    return None


def _read_json(text: str) -> object:
    return json.loads(text, strict=False)
