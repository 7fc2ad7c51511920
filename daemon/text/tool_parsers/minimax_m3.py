"""`]<]minimax[>[<tool_call>]<]minimax[>[<invoke name="f">]<]minimax[>[<key>value…`: MiniMax M3.
Every tag stands behind the same token; values may be trees of tags. Read when complete."""

from __future__ import annotations

import json
from typing import NamedTuple

import regex

from ..parsing import Call, Example, tool
from ..tool_grammar import Form
from ._calls import CallParser
from ._format import CallFormat, Whole
from ._schemas import ToolTypes, json_value
from ._tag_grammar import TagCall

MARK = "]<]minimax[>["
OPEN, CLOSE = f"{MARK}<tool_call>", f"{MARK}</tool_call>"
MARKERS = (MARK, OPEN, CLOSE)

_MAX_DEPTH = 50
_TAG = regex.compile(
    rf"{regex.escape(MARK)}<(?P<end>/)?(?P<name>[\w:.$-]{{1,256}})(?P<rest>[^<>]*)>"
)
_NAME = regex.compile(r"""\s+name=["']?(?P<name>[^"'<>]{1,256}?)["']?\s*""")


def detect(chat_template: str) -> bool:
    return OPEN in chat_template


class _Node(NamedTuple):
    name: str
    rest: str  # the tag's attributes
    text: str  # all of it that is no tag
    children: list[_Node]


def _calls(text: str, types: ToolTypes) -> list[Call] | None:
    try:
        said, nodes, end = _nodes(text, 0, None)
    except ValueError:
        return None
    if said.strip() or end != len(text):
        return None
    calls: list[Call] = []
    for node in nodes:
        named = _NAME.fullmatch(node.rest)
        if node.name != "invoke" or named is None or node.text.strip():
            return None
        of = types.get(named["name"], {})
        members = [
            f"{json.dumps(child.name)}: {_value(child, of.get(child.name, frozenset()))}"
            for child in node.children
        ]
        calls.append(Call(named["name"], "{" + ", ".join(members) + "}"))
    return calls or None


def _nodes(
    text: str, place: int, inside: str | None, depth: int = 0
) -> tuple[str, list[_Node], int]:
    """The text and the tags up to the end tag of `inside`, and its place. Raises ValueError."""
    said: list[str] = []
    nodes: list[_Node] = []
    while (tag := _TAG.search(text, place)) is not None:
        said.append(text[place : tag.start()])
        place = tag.end()
        if tag["end"]:
            if tag["name"] != inside:
                raise ValueError("an end tag without its beginning")
            return "".join(said), nodes, place
        if depth == _MAX_DEPTH:
            raise ValueError("too deep")
        own, children, place = _nodes(text, place, tag["name"], depth + 1)
        nodes.append(_Node(tag["name"], tag["rest"], own, children))
    if inside is not None:
        raise ValueError("a tag without its end")
    return text[place:], nodes, len(text)


def _value(node: _Node, types: frozenset[str]) -> str:
    """JSON: text by `types`, `<item>` tags as a list, other tags as an object; a tag that comes
    again makes a list of its values."""
    if not node.children:
        return json_value(node.text, types)
    if all(child.name == "item" for child in node.children):
        return "[" + ", ".join(_value(child, frozenset()) for child in node.children) + "]"
    members: dict[str, list[str]] = {}
    for child in node.children:
        members.setdefault(child.name, []).append(_value(child, frozenset()))
    pairs = [
        f"{json.dumps(name)}: {values[0] if len(values) == 1 else '[' + ', '.join(values) + ']'}"
        for name, values in members.items()
    ]
    return "{" + ", ".join(pairs) + "}"


class Parser(CallParser):
    format = CallFormat((OPEN,), (Whole(regex.compile(""), CLOSE, _calls),))


_CALL = TagCall(f'{MARK}<invoke name="%s">', f"{MARK}<%s>", f"{MARK}</%s>", "", f"{MARK}</invoke>")
FORMS = (Form(_CALL, OPEN, CLOSE),)

EXAMPLES = (
    Example(
        f'So{OPEN}{MARK}<invoke name="f">{MARK}<a>1{MARK}</a>{MARK}</invoke>{CLOSE}',
        text="So",
        calls=(Call("f", '{"a": "1"}'),),
        tools=(tool("f", a="string"),),
    ),
    Example(
        f'{OPEN}{MARK}<invoke name="f">{MARK}<b>{MARK}<item>2{MARK}</item>{MARK}</b>'
        f"{MARK}</invoke>",
        calls=(Call("f", '{"b": [2]}'),),
    ),
    Example(f"{OPEN}?{CLOSE}", text=f"{OPEN}?{CLOSE}"),
)
