"""What a Responses request demands of its output: `text.format`, and a custom tool's grammar.

Sources: https://platform.openai.com/docs/guides/structured-outputs,
https://platform.openai.com/docs/guides/function-calling#custom-tools
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sized
from typing import Any, NamedTuple

from ..protocol.errors import BadRequest
from ..protocol.grammar import Grammar
from ..protocol.requests import InputPattern
from ..text.lark_regex import as_regex
from .responses_tools import Choice, Tool, Tools

log = logging.getLogger(__name__)

MAX_PATTERNS = 16
_ANY_OBJECT = '{"type": "object"}'


class Demand(NamedTuple):
    """A grammar, and the field that asks for it."""

    grammar: Grammar | None = None
    param: str = ""


def read_format(form: dict[str, Any] | None) -> Demand:
    """Raises BadRequest; whether a schema compiles is found out later, by the task."""
    match form:
        case None | {"type": "text"}:
            return Demand()
        case {"type": "json_object"}:
            return Demand(Grammar("json_schema", _ANY_OBJECT), "text.format")
        case {"type": "json_schema", "schema": dict(schema)}:
            lenient = form.get("strict") is not True
            grammar = Grammar("json_schema", json.dumps(schema), lenient=lenient)
            return Demand(grammar, "text.format.schema")
        case {"type": "json_schema"}:
            raise _bad("text.format.schema", "must be a JSON schema (an object)")
    raise _bad("text.format.type", "must be text, json_object or json_schema")


def demanded_tool(choice: Choice) -> Tool | None:
    """A custom tool that must be called and whose input has a Lark grammar: the whole answer is the
    input, which such a grammar then holds to the letter."""
    tool = choice.tools.known.get(choice.name) if choice.name else None
    form = tool.format if tool else None
    return tool if form and form.get("syntax") == "lark" else None


def grammar_of(tool: Tool) -> Demand:
    """Of a `demanded_tool`."""
    source = (tool.format or {})["definition"]
    return Demand(Grammar("lark", source), "tools")


def input_patterns(tools: Tools) -> dict[str, InputPattern]:
    """Of the custom tools that have a grammar, by the model's names of them. Raises BadRequest."""
    found: dict[str, InputPattern] = {}
    for own, tool in tools.known.items():
        where = f"{tool.where}.format.definition"
        if (tool.format or {}).get("type") == "grammar":
            check_number(found, where)
        pattern = input_pattern(tool.format or {}, where)
        if pattern is not None:
            found[own] = pattern
    return found


def check_number(patterns: Sized, where: str) -> None:
    """To be asked before another one is read, which may take a moment. Raises BadRequest."""
    if len(patterns) >= MAX_PATTERNS:
        raise _bad(where, f"is one too many: {MAX_PATTERNS} tools of a request may have a grammar")


def input_pattern(form: dict[str, Any], where: str) -> InputPattern | None:
    """What the input within a call must match; `where` the grammar stands. Raises BadRequest."""
    match form:
        case {"type": "grammar", "syntax": "regex", "definition": str(source)}:
            return InputPattern(source, where)
        case {"type": "grammar", "syntax": "lark", "definition": str(source)}:
            if ":" not in source:  # a placeholder, as where a request was kept without its texts
                log.warning("%s defines no rule, so it holds nothing", where)
                return None
            try:
                return InputPattern(as_regex(source), where)
            except ValueError as error:
                raise _bad(where, f"cannot hold the input of a call: {error}") from error
    return None


def order_to_write(tool: Tool, description: str) -> dict[str, Any]:
    """The message that makes the answer the tool's input."""
    text = f"Write the input of the tool {tool.name} now, and nothing else.\n\n{description}"
    return {"role": "developer", "content": text}


def _bad(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where} {what}.", param=where)
