"""The one error of this package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_BREAKS = re.compile("[\\s\x00-\x1f\x7f\x85\u2028\u2029]+")
_MAX_TEXT = 300  # characters; wrong values may be of any length


class ConfigError(Exception):
    """What is wrong with a configuration, and where.

    `line` and `column` count from 1; both are None when the place is no place in the text (the
    file cannot be read, or an environment variable is wrong: then `key` is its name). `key` is the
    dotted path of the setting, or "", and `loc` the same in parts. `message` continues a sentence
    that begins with the key; `hint` is what to write instead, or None.
    """

    def __init__(
        self,
        path: Path,
        line: int | None,
        column: int | None,
        key: str,
        message: str,
        hint: str | None = None,
        *,
        loc: tuple[str | int, ...] = (),
    ) -> None:
        super().__init__(path, line, column, key, message, hint)
        self.loc = loc
        self.path = path
        self.line = line
        self.column = column
        self.key = _one_line(key)
        self.message = _one_line(message)
        self.hint = _one_line(hint) if hint is not None else None

    def __str__(self) -> str:
        place = self.path.name
        if self.line is not None:
            place += f":{self.line}:{self.column}"
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {key}{self.message}{hint}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "line": self.line,
            "column": self.column,
            "key": self.key,
            "message": self.message,
            "hint": self.hint,
            "text": str(self),
        }


def _one_line(text: str) -> str:
    """Keys and values of any content go into logs, terminals and pages."""
    text = _BREAKS.sub(" ", text)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"
