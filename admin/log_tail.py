"""The end of the log file, as lines with a level."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..daemon.logs.entry import for_people
from ..daemon.logs.read import last

LINES = 100


class LogLine(NamedTuple):
    text: str
    level: str  # debug, info, warning, error


class LogTail(NamedTuple):
    lines: list[LogLine]
    problem: str | None  # why the file cannot be read


def log_tail(path: Path, limit: int = LINES) -> LogTail:
    """The last `limit` entries, oldest first; traces are lines of their own. A file that does not
    exist yet has none. Blocks."""
    try:
        entries = last(path, limit)
    except OSError as error:
        return LogTail([], f"{path.name} cannot be read: {error.strerror}")
    return LogTail(
        [LogLine(line, each.level) for each in entries for line in for_people(each).split("\n")],
        None,
    )
