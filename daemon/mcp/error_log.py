"""What a server's program writes to stderr: a file of its own, and its last words."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TextIO

from ..logs.write import trim

ROTATE_BYTES = 1 << 20
TAIL_BYTES = 4000
TAIL_LINES = 5
TAIL_LENGTH = 600  # characters


class ErrorLog:
    """`logs/mcp-NAME.log`; of names that differ only in odd characters both write to the same."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"mcp-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.log"
        self._start = 0

    def open(self) -> TextIO:
        """For a program that starts now."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.trim()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._start = os.fstat(descriptor).st_size
        return os.fdopen(descriptor, "w")

    def trim(self) -> None:
        """Begins anew where the file is large; a program that writes to it goes on. Blocks."""
        trim(self.path, ROTATE_BYTES)

    def tail(self) -> str:
        """The last lines since it was opened last, as one; "" when there are none."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                start = self._start if self._start <= end else 0  # trimmed meanwhile
                file.seek(max(start, end - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " | ".join(lines[-TAIL_LINES:])[-TAIL_LENGTH:]
