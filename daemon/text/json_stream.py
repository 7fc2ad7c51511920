"""A JSON object that arrives in pieces, passed on so that it can be closed at any time.

What `push` returns joins to a text that, with `close()` behind it, is valid JSON (RFC 8259).
Therefore names, numbers and words are held back until they are complete, and commas until something
follows them. Slips that models make often are repaired on the way: raw control characters in
strings, backslashes that escape nothing, a comma before a closing bracket, True, False and None.
"""

from __future__ import annotations

import re
from enum import Enum, auto

MAX_DEPTH = 200  # of brackets; parsers recurse, and no tool wants more

_WHITESPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_SCALAR = re.compile(r"[\w.+-]*")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_WORDS = {
    "true": "true", "false": "false", "null": "null",
    "True": "true", "False": "false", "None": "null",
}  # fmt: skip
_CONTROL = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


class _Expect(Enum):
    OBJECT = auto()  # the beginning
    VALUE = auto()
    ITEM = auto()  # a value, or the end of the array
    NAME = auto()  # a name, or the end of the object
    COLON = auto()
    MORE = auto()  # a comma, or an end
    STRING = auto()  # inside one
    SCALAR = auto()  # inside a number or a word


class JsonObjectStream:
    """`complete` after the closing brace, `failed` at a character that no object can have there;
    `rest` is then the text that was not used."""

    def __init__(self) -> None:
        self._expect = _Expect.OBJECT
        self._closers: list[str] = []  # of the brackets that were passed on
        self._pending = ""  # read, but only passed on with the next value
        self._is_name = False  # the string that is being read
        self._escape = ""  # an unfinished escape sequence
        self._scalar = ""
        self.complete = False
        self.failed = False
        self.rest = ""

    def push(self, text: str) -> str:
        """What of the object may be passed on. Not to be called after `complete` or `failed`."""
        out: list[str] = []
        place = 0
        while place < len(text) and not self.complete:
            if self._expect is _Expect.STRING:
                place = self._string(text, place, out)
            elif self._expect is _Expect.SCALAR:
                place = self._read_scalar(text, place, out)
            else:
                place = self._structure(text, place, out)
            if self.failed:
                break
        if self.complete or self.failed:
            self.rest = text[place:]
        return "".join(out)

    def close(self) -> str:
        """What makes valid JSON of all that was passed on."""
        in_value = self._expect is _Expect.STRING and not self._is_name
        opening = "" if self._expect is not _Expect.OBJECT else "{}"
        return opening + ('"' if in_value else "") + "".join(reversed(self._closers))

    def _structure(self, text: str, place: int, out: list[str]) -> int:
        """One character outside of strings, numbers and words, with the whitespace before it."""
        end = _end(_WHITESPACE, text, place)
        self._pending += text[place:end]
        if end == len(text):
            return end
        character, expect = text[end], self._expect
        values = expect in (_Expect.VALUE, _Expect.ITEM)
        if character == "{" and (values or expect is _Expect.OBJECT):
            self._pass_on(character, out)
            self._closers.append("}")
            self._expect = _Expect.NAME
        elif character == "[" and values:
            self._pass_on(character, out)
            self._closers.append("]")
            self._expect = _Expect.ITEM
        elif character == '"' and (values or expect is _Expect.NAME):
            self._is_name = expect is _Expect.NAME
            self._expect = _Expect.STRING
            self._pass_on(character, out)
        elif character == ":" and expect is _Expect.COLON:
            self._pending += character
            self._expect = _Expect.VALUE
        elif character == "," and expect is _Expect.MORE:
            self._pending += character
            self._expect = _Expect.NAME if self._closers[-1] == "}" else _Expect.ITEM
        elif self._ends(character):
            self._pending = self._pending.replace(",", "", 1)
            self._closers.pop()
            self._pass_on(character, out)
            self._expect = _Expect.MORE
            self.complete = not self._closers
        elif values and _SCALAR.fullmatch(character):
            self._expect = _Expect.SCALAR
            return end
        else:
            self.failed = True
            return end
        self.failed = len(self._closers) > MAX_DEPTH
        return end + 1

    def _ends(self, character: str) -> bool:
        if not self._closers or character != self._closers[-1]:
            return False
        inside = _Expect.NAME if character == "}" else _Expect.ITEM
        return self._expect in (_Expect.MORE, inside)

    def _pass_on(self, text: str, out: list[str]) -> None:
        if self._expect is _Expect.STRING and self._is_name:
            self._pending += text
        else:
            out += (self._pending, text)
            self._pending = ""

    def _string(self, text: str, place: int, out: list[str]) -> int:
        if self._escape:
            return self._escaped(text, place, out)
        end = _end(_PLAIN, text, place)
        if end > place:
            self._pass_on(text[place:end], out)
        if end == len(text):
            return end
        character = text[end]
        if character == "\\":
            self._escape = character
        elif character == '"':
            self._pass_on(character, out)
            self._expect = _Expect.COLON if self._is_name else _Expect.MORE
        else:
            self._pass_on(_CONTROL.get(character) or f"\\u{ord(character):04x}", out)
        return end + 1

    def _escaped(self, text: str, place: int, out: list[str]) -> int:
        """The character after a backslash, or one of the four after "\\u"."""
        character = text[place]
        if len(self._escape) > 1:  # \u…
            if character not in "0123456789abcdefABCDEF":
                self.failed = True
                return place
            self._escape += character
            if len(self._escape) < 6:
                return place + 1
            self._pass_on(self._escape, out)
        elif character == "u":
            self._escape += character
            return place + 1
        elif character in '"\\/bfnrt':
            self._pass_on("\\" + character, out)
        elif character == "'":
            self._pass_on(character, out)
        else:  # a lone backslash was meant; the character is read again
            self._pass_on("\\\\", out)
            place -= 1
        self._escape = ""
        return place + 1

    def _read_scalar(self, text: str, place: int, out: list[str]) -> int:
        end = _end(_SCALAR, text, place)
        self._scalar += text[place:end]
        if end == len(text):
            return end
        scalar = _WORDS.get(self._scalar, self._scalar)
        if scalar not in _WORDS and not _NUMBER.fullmatch(scalar):
            self.failed = True
            return end
        self._pass_on(scalar, out)
        self._scalar = ""
        self._expect = _Expect.MORE
        return end


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    match = pattern.match(text, place)
    assert match is not None  # the patterns match nothing, too
    return match.end()
