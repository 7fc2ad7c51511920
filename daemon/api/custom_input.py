"""The text of a custom tool's call, out of the JSON that the model writes around it."""

from __future__ import annotations

import json
import re

import msgspec
import regex

from ..text.parsing import whole_characters

_encode = msgspec.json.Encoder().encode
_HEAD = regex.compile(r'\s*\{\s*"input"\s*:\s*"')
# Characters and escapes that are whole; the first half of a pair needs what follows.
_WHOLE = re.compile(
    r'(?:[^"\\]+|\\[^u]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\u[0-9a-fA-F]{4}|(?=\\[^u]|[^\\])))*"
)


def custom_input(arguments: str) -> str:
    """The text in `{"input": …}`; whatever the model wrote if it wrote something else."""
    try:
        found = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments
    match found:
        case {"input": str(text)}:
            return text
        case {"input": other} if len(found) == 1:
            return _encode(other).decode()
    return arguments


class InputStream:
    """The same while the JSON arrives; `text` is all of it after `finish`."""

    def __init__(self) -> None:
        self.text = ""
        self._json = ""
        self._at = 0  # of what is not decoded yet
        self._inside = False  # the string
        self._over = False  # it has ended, or there is none

    def push(self, piece: str) -> str:
        """What this adds to the text."""
        self._json += piece
        if not self._inside and not self._over:
            head = _HEAD.match(self._json, partial=True)
            if head is None:
                self._over = True
            elif not head.partial:
                self._inside, self._at = True, head.end()
        if not self._inside or self._over:
            return ""
        whole = _WHOLE.match(self._json, self._at)
        assert whole is not None
        self._at = whole.end()
        self._over = self._json[self._at : self._at + 1] == '"'
        found: str = json.loads(f'"{whole[0]}"', strict=False)
        found = whole_characters(found)
        self.text += found
        return found

    def finish(self) -> str:
        """What is left."""
        if self._inside:
            return ""
        self.text = custom_input(self._json)
        return self.text
