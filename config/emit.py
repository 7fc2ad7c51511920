"""Plain values → YAML that `document` reads back as the same values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .scalars import FORBIDDEN, resolve

SHORT = 72  # characters of a list in brackets; longer ones get a line for each item

# Certainly a plain scalar, also inside brackets; what is not gets quotes.
_PLAIN = re.compile(r"[\w./~+$(-](?:[\w./~%+@=$()*!;?<>&|^-]|:(?=[\w/])| (?=[\w./(]))*", re.ASCII)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = re.compile('[\\\\"\n\r\t\x85\u2028\u2029]')
_DASHES = re.compile(r"[-?](?:\s|$)|---|\.\.\.")


class Written(str):
    """A value as a person typed it: YAML, of one line or several."""

    __slots__ = ()


class Line(str):
    """A text that has to stand on one line."""

    __slots__ = ()


class Emitted(NamedTuple):
    """`key: head`, and under it the lines of `body`, each without the indentation of the key's
    children."""

    head: str
    body: tuple[str, ...] = ()


def emit(value: Any, step: int = 2) -> Emitted:
    """`value` (dicts, lists, scalars, Written) as the value of a key in block style.

    Raises ValueError for what YAML cannot hold.
    """
    if isinstance(value, Written):
        lines = value.strip("\r\n").splitlines()
        return Emitted("", tuple(lines)) if len(lines) > 1 else _typed(value)
    if isinstance(value, Mapping) and value:
        return Emitted("", tuple(_entries(value, step)))
    if isinstance(value, list | tuple) and value and len(inline(value)) > SHORT:
        return Emitted("", tuple(f"- {inline(item)}" for item in value))
    if isinstance(value, str) and not isinstance(value, Line) and _fits_literal(value):
        chomp = "" if value.endswith("\n") else "-"
        return Emitted("|" + chomp, tuple(value.removesuffix("\n").split("\n")))
    return Emitted(inline(value))


def inline(value: Any) -> str:
    """`value` on one line, right in block style and inside brackets. Raises ValueError."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key_of(k)}: {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(inline, value)) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def key_of(name: str) -> str:
    """A key; those are texts whatever they look like."""
    return name if _is_plain(name) and len(name) <= 128 and ": " not in name else _quoted(name)


def _entries(mapping: Mapping[str, Any], step: int) -> Iterator[str]:
    for key, value in mapping.items():
        below = emit(value, step)
        yield f"{key_of(key)}:{' ' + below.head if below.head else ''}"
        for line in below.body:
            yield " " * step + line if line else ""


def _typed(value: Written) -> Emitted:
    """One line that a person typed: a block mapping or list cannot stand behind a key."""
    line = value.strip()
    is_block = re.match(r"- |[^\s{\[\"'][^\s]*:(\s|$)|[\"'].*[\"']:(\s|$)", line)
    return Emitted("", (line,)) if is_block else Emitted(line)


def _text(value: str) -> str:
    if _is_plain(value) and resolve(value) == value:
        return value
    return _quoted(value)


def _quoted(value: str) -> str:
    bad = FORBIDDEN.search(value)
    if bad is not None:
        raise ValueError(f"holds the character U+{ord(bad[0]):04X}, which is not allowed")
    if _ESCAPED.search(value.replace("\\", "").replace('"', "")):
        return '"' + _ESCAPED.sub(lambda found: _escape(found[0]), value) + '"'
    return "'" + value.replace("'", "''") + "'"


def _escape(character: str) -> str:
    return _ESCAPES.get(character) or f"\\u{ord(character):04x}"


def _is_plain(value: str) -> bool:
    return _PLAIN.fullmatch(value) is not None and not _DASHES.match(value)


def _fits_literal(value: str) -> bool:
    """Several lines that `|` holds exactly, without an indentation indicator."""
    body = value.removesuffix("\n")
    return (
        "\n" in body
        and not body.startswith((" ", "\n"))
        and not body.endswith("\n")
        and not _ESCAPED.search(re.sub(r"[\n\\\"]", "", body))
        and not FORBIDDEN.search(body)
    )
