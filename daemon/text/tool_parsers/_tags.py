"""Arguments that are written one tag a parameter, turned into JSON while they arrive.

`<parameter=city>Paris</parameter><parameter=days>2</parameter>` → `{"city": "Paris", "days": 2}`.
The tool's schema says what is a string; strings are passed on as they come, other values when they
are complete.
"""

from __future__ import annotations

import json
from typing import NamedTuple

import regex

from ..parsing import partial_marker
from ._schemas import STRING, Types, json_value


class TagStyle(NamedTuple):
    """How a format writes parameters."""

    opening: regex.Pattern[str]  # up to the value; groups: key, and perhaps `string`: what of its
    # value says that this is a string ("true", "string"), or that it is not
    closing: str  # behind the value
    end: regex.Pattern[str]  # behind the last parameter
    newlines: bool = False  # one newline on either side of a value belongs to the markup
    cdata: bool = False  # <![CDATA[ … ]]> may enclose a value


class TagArguments:
    """Has the face of JsonObjectStream: `complete`, `failed`, `rest`, push and close."""

    def __init__(self, style: TagStyle, types: Types) -> None:
        self._style = style
        self._types = types
        self._buffer = ""
        self._begun = False  # "{" was passed on
        self._key: str | None = None  # of the value that is being read
        self._is_string = False
        self._value: frozenset[str] = frozenset()
        self._value_begun = False
        self.complete = False
        self.failed = False
        self.rest = ""

    def push(self, text: str) -> str:
        self._buffer += text
        out: list[str] = []
        while self._between(out) if self._key is None else self._in_value(out):
            pass
        return "".join(out)

    def close(self) -> str:
        """What makes valid JSON of all that was passed on."""
        if self._key is not None and self._is_string:
            return '"}'
        return "}" if self._begun else "{}"

    def _between(self, out: list[str]) -> bool:
        style = self._style
        for pattern in (style.opening, style.end):
            match = pattern.match(self._buffer, partial=True)
            if match is None:
                continue
            if match.partial:
                return False
            self._buffer = self._buffer[match.end() :]
            if pattern is style.end:
                out.append("}" if self._begun else "{}")
                self.complete = True
                self.rest = self._buffer
                return False
            self._open(match, out)
            return True
        self.failed = True
        self.rest = self._buffer
        return False

    def _open(self, match: regex.Match[str], out: list[str]) -> None:
        groups = match.groupdict()
        key: str = groups["key"].strip()
        self._key = key
        self._value = self._types.get(key, frozenset())
        if (said := groups.get("string")) is not None:
            self._value = STRING if said in ("true", "string") else self._value - STRING
        self._is_string = self._value == STRING and not self._style.cdata
        self._value_begun = False
        if self._is_string:
            self._name(out)
            out.append('"')

    def _name(self, out: list[str]) -> None:
        out.append(", " if self._begun else "{")
        out.append(json.dumps(self._key, ensure_ascii=False) + ": ")
        self._begun = True

    def _in_value(self, out: list[str]) -> bool:
        closing = self._style.closing
        value, closed, rest = self._buffer.partition(closing)
        if not self._is_string:
            if not closed:
                return False
            self._name(out)
            out.append(json_value(self._trimmed(value), self._value))
            self._key, self._buffer = None, rest
            return True
        if not closed:
            value = value[: len(value) - partial_marker(value, closing)]
            if self._style.newlines and value.endswith("\n"):
                value = value[:-1]  # the markup's, if the closing tag follows
        used = len(value)
        if self._style.newlines:
            if not self._value_begun and value.startswith("\n"):
                value = value[1:]
            if closed and value.endswith("\n"):
                value = value[:-1]
        if used:
            self._value_begun = True
            out.append(json.dumps(value, ensure_ascii=False)[1:-1])
        if closed:
            out.append('"')
            self._key, self._buffer = None, rest
            return True
        self._buffer = self._buffer[used:]
        return False

    def _trimmed(self, value: str) -> str:
        if self._style.cdata:
            inner = value.strip()
            if inner.startswith("<![CDATA[") and inner.endswith("]]>"):
                return inner[len("<![CDATA[") : -len("]]>")]
        if self._style.newlines:
            value = value.removeprefix("\n").removesuffix("\n")
        return value
