"""The one error of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class ConfigError(Exception):
    """What is wrong with a configuration, and where.

    `line` and `column` count from 1; both are None when the place is no place in the text (the
    file cannot be read, or an environment variable is wrong: then `key` is its name). `key` is the
    dotted path of the setting, or "". `message` continues a sentence that begins with the key;
    `hint` is what to write instead, or None.
    """

    def __init__(
        self,
        path: Path,
        line: int | None,
        column: int | None,
        key: str,
        message: str,
        hint: str | None = None,
    ) -> None:
        super().__init__(path, line, column, key, message, hint)
        self.path = path
        self.line = line
        self.column = column
        self.key = key
        self.message = message
        self.hint = hint

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
