"""What a tool's schema says of its parameters, for formats that write values without quotes."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

# parameter → JSON types that it may have; a parameter that is not in it may have any
Types = Mapping[str, frozenset[str]]
ToolTypes = Mapping[str, Types]  # by tool name
STRING = frozenset({"string"})
MAX_DEPTH = 8  # of choices within choices

_NAMES = {
    "str": "string", "text": "string", "int": "integer", "float": "number", "double": "number",
    "bool": "boolean", "dict": "object", "list": "array", "none": "null",
}  # fmt: skip
_VALUES = {
    type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string",
    list: "array", dict: "object",
}  # fmt: skip


def parameter_types(tools: Sequence[Mapping[str, Any]]) -> dict[str, Types]:
    """Tool name → types of its parameters. `tools` as in OpenAI's chat API; what has no such shape
    says nothing."""
    found: dict[str, Types] = {}
    for tool in tools:
        function = tool.get("function", tool)
        if isinstance(function, Mapping) and isinstance(name := function.get("name"), str):
            schema = function.get("parameters")
            properties = schema.get("properties") if isinstance(schema, Mapping) else None
            named = properties.items() if isinstance(properties, Mapping) else ()
            found[name] = {key: types for key, value in named if (types := _types(value, schema))}
    return found


def resolved(schema: object, root: object) -> object:
    """What a schema that is a reference within `root` refers to; the schema itself if it is none,
    or the reference leads nowhere."""
    seen: list[object] = []
    while isinstance(schema, Mapping) and isinstance(ref := schema.get("$ref"), str):
        place: object = root
        for step in ref.removeprefix("#").strip("/").split("/"):
            place = place.get(step) if isinstance(place, Mapping) else None
        if place is None or place in seen:
            return schema
        seen.append(place)
        schema = place
    return schema


def _types(schema: object, root: object, depth: int = 0) -> frozenset[str]:
    """Empty when the schema says nothing of types, or it takes more than this to find out."""
    schema = resolved(schema, root)
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return frozenset()
    if "type" in schema:
        named = schema["type"]
        names = named if isinstance(named, list) else [named]
        return frozenset(_NAMES.get(str(n).lower(), str(n).lower()) for n in names)
    if isinstance(values := schema.get("enum"), list):
        return frozenset(_VALUES.get(type(value), "string") for value in values)
    for key in ("anyOf", "oneOf"):
        if isinstance(choices := schema.get(key), list):
            each = [_types(choice, root, depth + 1) for choice in choices]
            return frozenset().union(*each) if all(each) else frozenset()
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
