"""Grammars of tool calls, for requests that demand one.

A module of `tool_parsers/` whose format can be enforced offers

    def grammar(tools, *, name, parallel) -> str

in llguidance's Lark: one call or, with `parallel`, several, of the tool `name` or of any. The first
line is `start: calls`; a mark that may be a token of its own has a rule for itself, `rule: "mark"`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .grammar import json_rule, literal

MAX_CALLS = 16  # in one answer


def json_calls(
    tools: Sequence[Mapping[str, Any]],
    *,
    name: str | None,
    parallel: bool,
    opening: str,
    closing: str,
    inside: str = "\n",
    between: str = "\n",
) -> str:
    """Calls written as `opening {"name": …, "arguments": {…}} closing`, with `inside` between
    marks and JSON, and `between` between calls."""
    functions = [tool["function"] for tool in tools]
    chosen = [function for function in functions if name is None or function["name"] == name]
    more = f" ({literal(between)} call){{0,{MAX_CALLS - 1}}}" if parallel else ""
    rules = ["start: calls", f"calls: call{more}"]
    bodies = " | ".join(f"call_{i}" for i in range(len(chosen)))
    space = literal(inside)
    rules.append(f"call: opening {space} ({bodies}) {space} closing")
    rules += [f"opening: {literal(opening)}", f"closing: {literal(closing)}"]
    for i, function in enumerate(chosen):
        head = literal(f'{{"name": {literal(function["name"])}, "arguments": ')
        rules.append(f'call_{i}: {head} arguments_{i} "}}"')
        rules.append(f"arguments_{i}: {json_rule(parameters(function), lenient=lenient(function))}")
    return "\n".join(rules)


def parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a function's arguments, which are an object in any case."""
    return {"type": "object"} | (function.get("parameters") or {})


def lenient(function: Mapping[str, Any]) -> bool:
    return function.get("strict") is not True


def with_tokens(grammar: str, id_of: Callable[[str], int | None]) -> str:
    """The rules that are one mark each as tokens, where the tokenizer has such a token."""

    def token(rule: re.Match[str]) -> str:
        number = id_of(json.loads(rule[2]))
        return rule[0] if number is None else f"{rule[1]}: <[{number}]>"

    return re.sub(r'^(\w+): ("(?:[^"\\]|\\.)*")$', token, grammar, flags=re.MULTILINE)
