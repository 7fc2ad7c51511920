"""Gemma's own notation, `call:f{a:<q>text<q>,b:[1,true]}`: JSON with bare keys and a token for the
quotation mark. Read at once, when it is complete."""

from __future__ import annotations

import json

import regex

from ..parsing import Call
from ._schemas import ToolTypes

_KEY = regex.compile(r"\s*([^\s:{}\[\],<>]+)\s*:")
_HEAD = regex.compile(r"\s*call:([\w.:/-]{1,256}?)\s*(?=\{)")
_SCALAR = regex.compile(r"[^,{}\[\]<>]*")
_MAX_DEPTH = 100


def brace_calls(text: str, _types: ToolTypes, quote: str) -> list[Call] | None:
    """The calls in `text`; None when there is anything else in it."""
    calls: list[Call] = []
    place = 0
    try:
        while text[place:].strip():
            head = _HEAD.match(text, place)
            if head is None:
                return None
            arguments, place = _value(text, head.end(), quote, 0)
            calls.append(Call(head[1], json.dumps(arguments, ensure_ascii=False)))
    except ValueError:
        return None
    return calls or None


def _value(text: str, place: int, quote: str, depth: int) -> tuple[object, int]:
    """The value that begins at `place`, and where it ends. Raises ValueError."""
    place = _after_space(text, place)
    if depth > _MAX_DEPTH:
        raise ValueError("too deep")
    if text.startswith(quote, place):
        start = place + len(quote)
        end = text.index(quote, start)
        return text[start:end], end + len(quote)
    if text.startswith('"', place):
        return json.JSONDecoder(strict=False).raw_decode(text, place)
    if text.startswith("{", place):
        return _members(text, place + 1, quote, depth)
    if text.startswith("[", place):
        return _items(text, place + 1, quote, depth)
    scalar = _SCALAR.match(text, place)
    assert scalar is not None
    word = scalar[0].strip()
    if not word:
        raise ValueError("no value")
    try:
        value = json.loads(word)
        json.dumps(value, allow_nan=False)
    except ValueError:
        value = {"True": True, "False": False, "None": None}.get(word, word)
    return value, scalar.end()


def _members(text: str, place: int, quote: str, depth: int) -> tuple[object, int]:
    members: dict[str, object] = {}
    while True:
        place = _after_space(text, place)
        if text.startswith("}", place):
            return members, place + 1
        if text.startswith(quote, place):
            key, place = _value(text, place, quote, depth)
            place = text.index(":", place) + 1
        elif match := _KEY.match(text, place):
            key, place = match[1].strip('"'), match.end()
        else:
            raise ValueError("no key")
        members[str(key)], place = _value(text, place, quote, depth + 1)
        place = _after_comma(text, place, "}")


def _items(text: str, place: int, quote: str, depth: int) -> tuple[object, int]:
    items: list[object] = []
    while True:
        place = _after_space(text, place)
        if text.startswith("]", place):
            return items, place + 1
        item, place = _value(text, place, quote, depth + 1)
        items.append(item)
        place = _after_comma(text, place, "]")


def _after_space(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _after_comma(text: str, place: int, closing: str) -> int:
    place = _after_space(text, place)
    if text.startswith(",", place):
        return place + 1
    if not text.startswith(closing, place):
        raise ValueError("no comma")
    return place
