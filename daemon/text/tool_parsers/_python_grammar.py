"""Grammars of calls as Python and as Gemma write them."""

from __future__ import annotations

import keyword
from collections.abc import Callable
from typing import Any

from ..tool_grammar import Function, Rules, properties, required, with_name
from ._bounds import BOUNDS

# JSON strings that Python reads alike; no backtick, as Markdown fences end with some
_STRING = r'/"([^"\\\x00-\x1f\x7f`]|\\["\\nt])*"/'


def python_call(rules: Rules, function: Function, opening: str) -> str:
    """`f(a=1, b="x")`. JSON's words are understood, too."""
    needed = required(function)
    if not all(part.isidentifier() for part in function.name.split(".")):
        raise ValueError(f"a tool named {function.name!r} cannot be demanded of this model")
    items: list[tuple[str, bool]] = []
    for key, schema in properties(function).items():
        if not key.isidentifier() or keyword.iskeyword(key):
            raise ValueError(f"a parameter named {key!r} cannot be demanded of this model")
        held = {"enum", "const"} if function.lenient else {"enum", "const", *BOUNDS}
        free = schema.get("type") == "string" and not held & schema.keys()
        value = rules.rule(_STRING) if free else rules.json(schema, lenient=function.lenient)
        items.append((rules.rule(f"{rules.text(key + '=')} {value}"), key in needed))
    arguments = rules.listed(items, rules.text(", "))
    return f'{rules.text(f"{opening}{function.name}(")} {arguments} ")"'


def brace_call(quote: str) -> Callable[[Rules, Function, str], str]:
    """`call:f{a:<q>text<q>,b:[1,true]}`."""

    def written(rules: Rules, function: Function, opening: str) -> str:
        head = with_name(rules, f"{opening}call:%s", function.name)
        if function.text is not None:
            (key,) = properties(function)
            value = rules.matching([function.text], quote)
            return f'{head} {rules.text(f"{{{key}:{quote}")} {value} "}}"'
        schema = {"type": "object"} | function.schema
        return f"{head} {_value(rules, schema, schema, quote, function.lenient)}"

    return written


def _value(
    rules: Rules, schema: dict[str, Any], root: dict[str, Any], quote: str, lenient: bool
) -> str:
    """Keys without quotation marks and strings in Gemma's; what is more than types and lists of
    words is JSON, which its parser reads as well."""

    def nested(value: Any) -> str:
        value = value if isinstance(value, dict) else {}
        return _value(rules, value, root, quote, lenient)

    if "enum" in schema and all(isinstance(word, str) for word in schema["enum"]):
        return rules.rule(" | ".join(rules.text(quote + word + quote) for word in schema["enum"]))
    kind = schema.get("type")
    if kind == "string" and not ({"const"} if lenient else {"const", *BOUNDS}) & schema.keys():
        return f"{rules.text(quote)} {rules.until(quote)}"
    members = schema.get("properties")
    if kind == "object" and isinstance(members, dict) and all(map(_is_bare, members)):
        must = schema.get("required") or []
        items = [
            (rules.rule(f"{rules.text(key + ':')} {nested(value)}"), key in must)
            for key, value in members.items()
        ]
        return rules.rule(f'"{{" {rules.listed(items, rules.text(","))} "}}"')
    bounds = {"prefixItems", "minItems", "maxItems"} & schema.keys()
    if kind == "array" and isinstance(schema.get("items"), dict) and not bounds:
        item = nested(schema["items"])
        return rules.rule(f'"[" ({item} ("," {item})*)? "]"')
    shared = {key: root[key] for key in ("$defs", "definitions") if key in root}
    return rules.json(shared | schema, lenient=lenient)


def _is_bare(key: str) -> bool:
    return key.replace("-", "_").isidentifier()
