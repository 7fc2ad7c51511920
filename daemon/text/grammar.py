"""Grammars before they go to the engine: built from what clients ask for, and checked.

llguidance, which the engine uses, is small and imported when the first grammar comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ..protocol.errors import BadRequest
from ..protocol.grammar import JSON_WHITESPACE, Grammar

MAX_SOURCE = 512 * 1024  # characters

_BRANCHES = ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas")
_SINGLE = ("items", "additionalProperties", "contains", "propertyNames", "if", "then", "else")
_LISTS = ("prefixItems", "anyOf", "oneOf", "allOf")


def of_choices(choices: list[str]) -> Grammar:
    """One of these texts, exactly."""
    return Grammar("lark", "start: " + " | ".join(map(literal, choices)))


def of_lark_or_gbnf(source: str) -> Grammar:
    """A grammar in llguidance's Lark, or in llama.cpp's GBNF. Raises ValueError."""
    if "::=" not in source:
        return Grammar("lark", source)
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        return Grammar("lark", any_to_lark(source))
    except Exception as error:  # its parser raises bare Exception
        raise ValueError(str(error)) from error


def literal(text: str) -> str:
    """A text as Lark writes it."""
    return json.dumps(text, ensure_ascii=False)


def json_rule(schema: Any, *, lenient: bool) -> str:
    """A schema as the right side of a Lark rule."""
    options = {"x-guidance": {"lenient": lenient, "whitespace_pattern": JSON_WHITESPACE}}
    if isinstance(schema, dict):
        schema = options | schema
    return f"%json {json.dumps(schema, ensure_ascii=False)}"


def as_rule(grammar: Grammar) -> str:
    """A grammar as the right side of a Lark rule."""
    match grammar.kind:
        case "json_schema":
            return json_rule(json.loads(grammar.source), lenient=grammar.lenient)
        case "regex":
            escaped = re.sub(r"\\.|/|\n", _in_slashes, grammar.source, flags=re.DOTALL)
            return f"/{escaped}/"
        case "lark":
            return f"%lark {{\n{grammar.source}\n}}"


def _in_slashes(found: re.Match[str]) -> str:
    return {"/": r"\/", "\n": r"\n", "\\\n": r"\n"}.get(found[0], found[0])


def check(grammar: Grammar, param: str) -> None:
    """Raises BadRequest for a grammar that does not compile; `param` names the field, and the
    message the place in a schema. May take a second: call it through `asyncio.to_thread`."""
    if len(grammar.source) > MAX_SOURCE:
        raise BadRequest(
            f"{param}: the grammar has more than {MAX_SOURCE} characters.", param=param
        )
    fault = _fault(grammar.kind, grammar.source, grammar.lenient)
    if fault is not None:
        where, message = fault
        raise BadRequest(f"{param}{where}: {message}.", param=param + where)


@lru_cache(maxsize=256)
def _fault(kind: str, source: str, lenient: bool) -> tuple[str, str] | None:
    """What is wrong: (place within the schema, message)."""
    from llguidance import LLMatcher

    if kind == "json_schema":
        schema = json.loads(source)
        message = _schema_error(schema, lenient)
        return None if not message else (_place(schema, message, lenient), message)
    make = LLMatcher.grammar_from_regex if kind == "regex" else LLMatcher.grammar_from_lark
    message = _plain(LLMatcher.validate_grammar(make(source)))
    return ("", message) if message else None


def _schema_error(schema: Any, lenient: bool) -> str:
    from llguidance import LLMatcher

    try:
        source = LLMatcher.grammar_from_json_schema(
            json.dumps(schema),
            overrides={"lenient": lenient, "whitespace_pattern": JSON_WHITESPACE},
        )
    except ValueError as error:
        return _plain(str(error))
    return _plain(LLMatcher.validate_grammar(source))


def _plain(message: str) -> str:
    return " ".join(message.replace("<non-verbose/>", "").split()).rstrip(".")


def _place(schema: Any, message: str, lenient: bool) -> str:
    """The path of the smallest part of the schema that has this fault by itself."""
    if not isinstance(schema, dict):
        return ""
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    path, left = "", schema
    while isinstance(left, dict):
        for step, part in _parts(left):
            alone = shared | part if isinstance(part, dict) else part
            if _schema_error(alone, lenient) == message:
                path, left = path + step, part
                break
        else:
            break
    return path


def _parts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _BRANCHES:
        if isinstance(schema.get(key), dict):
            yield from ((f".{key}.{name}", part) for name, part in schema[key].items())
    yield from ((f".{key}", schema[key]) for key in _SINGLE if isinstance(schema.get(key), dict))
    for key in _LISTS:
        if isinstance(schema.get(key), list):
            yield from ((f".{key}[{i}]", part) for i, part in enumerate(schema[key]))
