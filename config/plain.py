"""Nodes of a document → plain values, as written: `${VAR}` is a text like any other."""

from __future__ import annotations

import textwrap
from typing import Any

from .document import Node, Problem, Scalar, Sequence, Table, parse
from .scalars import resolve


def plain(node: Node) -> Any:
    """Dicts, lists and scalars."""
    if isinstance(node, Table):
        return {key: plain(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return resolve(node.text) if node.is_plain else node.text


def pairs_at(tree: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The mapping at `keys`; an empty one when there is none."""
    for key in keys:
        below = tree.get(key)
        if not isinstance(below, dict):
            return {}
        tree = below
    return tree


def fragment(text: str) -> Any:
    """What YAML that stands under a key means. Raises Problem, its place in `text`."""
    lead = "value:\n"
    try:
        root = parse(lead + textwrap.indent(text, "  "))
    except Problem as problem:
        # Every line has two characters more there than here.
        before = (lead + textwrap.indent(text, "  "))[: problem.index]
        index = max(0, problem.index - len(lead) - 2 * max(1, before.count("\n")))
        raise Problem(index, problem.message, hint=problem.hint) from problem
    assert root is not None
    if list(root.entries) != ["value"]:
        raise Problem(0, "the lines must begin in one column")
    return plain(root.entries["value"].value)


def source_of(text: str, keys: tuple[str, ...]) -> str | None:
    """How the value at `keys` is written, its lines moved to the left; None when it is not there
    or stands behind an alias."""
    node: Node | None = parse(text)
    start = end = 0
    for key in keys:
        if not isinstance(node, Table) or key not in node.entries:
            return None
        entry = node.entries[key]
        if entry.value.start != entry.start or entry.key_start < node.start:
            return None
        node, start, end = entry.value, entry.start, entry.end
    if node is None or isinstance(node, Scalar):
        return text[start:end]
    first = text.rfind("\n", 0, start) + 1
    return textwrap.dedent(" " * (start - first) + text[start:end]).strip("\r\n")
