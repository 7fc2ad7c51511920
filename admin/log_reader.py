"""The last entries of the log that somebody wants to see, kept up to date cheaply.

A page asks every two seconds, as all pages do (`render` says why that and no stream of events). The
first time the files are read backwards until enough is found, which for a rare word means all of
them; after that only what was appended is read.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..daemon.logs.entry import Entry, Wanted, decode
from ..daemon.logs.read import until_now

COUNT = 200
KEPT = 8  # of the last asked for


class LogTail(NamedTuple):
    entries: list[Entry]  # oldest first
    problem: str | None  # why the file cannot be read


class _Followed:
    """One answer, and how far into the file it goes."""

    def __init__(self, file: BinaryIO, path: Path, wanted: Wanted) -> None:
        entries, self._end = until_now(file, path, COUNT, wanted)
        self.entries = deque(entries, COUNT)
        self._place = _place(file)
        self._wanted = wanted

    def goes_on(self, file: BinaryIO) -> bool:
        """Whether this is the file still, neither rotated nor truncated."""
        return self._place == _place(file) and self._end <= os.fstat(file.fileno()).st_size

    def take(self, file: BinaryIO) -> None:
        """What was appended; a line that is not complete yet is left for the next time."""
        file.seek(self._end)
        complete, newline, _ = file.read().rpartition(b"\n")
        self._end += len(complete) + len(newline)
        for line in complete.split(b"\n"):
            if line and self._wanted.matches(entry := decode(line)):
                self.entries.append(entry)


class LogReader:
    """Of one file. For any thread."""

    def __init__(self) -> None:
        self._followed: dict[Wanted, _Followed] = {}
        self._lock = threading.Lock()

    def read(self, path: Path, wanted: Wanted) -> LogTail:
        """The last COUNT entries. A file that does not exist yet has none. Blocks."""
        try:
            with self._lock, path.open("rb") as file:
                known = self._followed.pop(wanted, None)
                if known is not None and known.goes_on(file):
                    known.take(file)
                else:
                    known = _Followed(file, path, wanted)
                self._followed[wanted] = known
                if len(self._followed) > KEPT:
                    del self._followed[next(iter(self._followed))]
                return LogTail(list(known.entries), None)
        except FileNotFoundError:
            return LogTail([], None)
        except OSError as error:
            return LogTail([], f"{path.name} cannot be read: {error.strerror}")


def _place(file: BinaryIO) -> tuple[int, int]:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino
