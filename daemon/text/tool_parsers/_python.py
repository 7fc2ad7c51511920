"""Calls as Python writes them, `[f(a=1, b="x"), g()]`: read at once, when they are complete."""

from __future__ import annotations

import ast
import json

from ..parsing import Call, whole_characters
from ._schemas import ToolTypes

_WORDS = {"true": True, "false": False, "null": None}  # JSON inside Python


def python_calls(text: str, _types: ToolTypes) -> list[Call] | None:
    """The calls of a list, or of one call a line; None when the text is anything else."""
    try:
        body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    calls: list[Call] = []
    for statement in body:
        if not isinstance(statement, ast.Expr):
            return None
        value = statement.value
        for node in value.elts if isinstance(value, ast.List) else [value]:
            call = _call(node)
            if call is None:
                return None
            calls.append(call)
    return calls or None


def _call(node: ast.expr) -> Call | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        node = node.args[0] if len(node.args) == 1 else node  # gemma writes print(f(…))
    if not isinstance(node, ast.Call) or node.args:
        return None
    name = _name(node.func)
    arguments: dict[str, object] = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            return None
        try:
            arguments[keyword.arg] = ast.literal_eval(_Words().visit(keyword.value))
        except (ValueError, TypeError, RecursionError, MemoryError):
            return None
    try:
        text = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):  # a set, bytes, infinity
        return None
    return Call(name, whole_characters(text)) if name else None


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (parent := _name(node.value)):
        return f"{parent}.{node.attr}"
    return None


class _Words(ast.NodeTransformer):
    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in _WORDS:
            return node
        return ast.copy_location(ast.Constant(_WORDS[node.id]), node)
