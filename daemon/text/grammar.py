"""Grammars as clients ask for them, in the forms that the engine understands."""

from __future__ import annotations

import json
import re
from typing import Any

from ..protocol.grammar import JSON_WHITESPACE, Grammar

MAX_GBNF = 100_000


def of_choices(choices: list[str]) -> Grammar:
    """One of these texts, exactly."""
    return Grammar("lark", "start: " + " | ".join(map(literal, choices)))


def of_lark_or_gbnf(source: str) -> Grammar:
    """A grammar in llguidance's Lark, or in llama.cpp's GBNF. Raises ValueError."""
    if "::=" not in source:
        return Grammar("lark", source)
    if len(source) > MAX_GBNF:  # it is turned into Lark while everybody waits
        raise ValueError(f"a grammar in GBNF has at most {MAX_GBNF:,} characters")
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
            return f"/{in_slashes(grammar.source)}/"
        case "lark":
            return f"%lark {{\n{grammar.source}\n}}"


def in_slashes(regex: str) -> str:
    """A regex as Lark writes it between slashes."""
    return re.sub(r"\\.|/|\n", _in_slashes, regex, flags=re.DOTALL)


def _in_slashes(found: re.Match[str]) -> str:
    return {"/": r"\/", "\n": r"\n", "\\\n": r"\n"}.get(found[0], found[0])
