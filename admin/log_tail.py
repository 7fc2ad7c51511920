"""The end of the log file, as lines with a level."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

LINES = 100
READ_BYTES = 64 * 1024  # of the end; a hundred lines with a few tracebacks

# The level stands near the beginning of a line; lines without one (tracebacks) belong to the last.
_LEVEL = re.compile(r"^.{0,60}?\b(DEBUG|INFO|WARNING|ERROR|CRITICAL)\b", re.IGNORECASE)
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class LogLine(NamedTuple):
    text: str
    level: str  # debug, info, warning, error; critical counts as error


class LogTail(NamedTuple):
    lines: list[LogLine]
    problem: str | None  # why the file cannot be read


def log_tail(path: Path, limit: int = LINES) -> LogTail:
    """The last `limit` lines, oldest first. A file that does not exist yet has none. Blocks."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            begin = max(0, file.tell() - READ_BYTES)
            file.seek(begin)
            content = file.read()
    except FileNotFoundError:
        return LogTail([], None)
    except OSError as error:
        return LogTail([], f"{path.name} cannot be read: {error.strerror}")
    if begin:
        content = content.partition(b"\n")[2]  # the first line is cut
    return LogTail(parse(content.decode("utf-8", "replace"))[-limit:], None)


def parse(text: str) -> list[LogLine]:
    """Lines of a log; terminal colours and control characters are taken out."""
    lines: list[LogLine] = []
    level = "info"
    for raw in text.splitlines():
        line = _CONTROL.sub("", raw)
        if found := _LEVEL.match(line):
            level = found[1].lower().replace("critical", "error")
        lines.append(LogLine(line, level))
    return lines
