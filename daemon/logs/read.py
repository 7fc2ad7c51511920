"""Reading logs/fastmlx.log and the older files beside it, while they are being written."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from .entry import EVERYTHING, Entry, Wanted, decode

BLOCK = 64 * 1024
POLL_S = 0.2


def last(path: Path, count: int, wanted: Wanted = EVERYTHING) -> list[Entry]:
    """The last `count` entries that are wanted, oldest first; reads older files as far as needed.

    A file that is not there has none. Blocks. Raises OSError when one cannot be read.
    """
    return list(islice(backwards(path, wanted), count))[::-1]


def backwards(path: Path, wanted: Wanted = EVERYTHING) -> Iterator[Entry]:
    """Entries, the newest first, through the file and then those that it was rotated to."""
    return _entries(_lines_backwards(path), _lines_of_older(path), wanted)


def until_now(
    file: BinaryIO, path: Path, count: int, wanted: Wanted = EVERYTHING
) -> tuple[list[Entry], int]:
    """As `last`, of `file`, which `path` led to a moment ago; and where what they are of ends in
    it: after the last complete line. What comes later begins there."""
    end = file.seek(0, os.SEEK_END)
    lines = _split_backwards(file, end)
    end -= len(next(lines))
    entries = _entries(lines, _lines_of_older(path), wanted)
    return list(islice(entries, count))[::-1], end


def follow(path: Path, wanted: Wanted = EVERYTHING, count: int = 0) -> Iterator[Entry]:
    """The last `count` entries, then what is appended; goes on in the new file after a rotation,
    from the start after a truncation, and waits for a file that is not there (yet). Never ends."""
    for text in _followed(path, wanted, count):
        if isinstance(text, Entry):
            yield text
            continue
        for line in text.split(b"\n"):
            if line and wanted.matches(entry := decode(line)):
                yield entry


def _followed(path: Path, wanted: Wanted, count: int) -> Iterator[bytes | Entry]:
    file: BinaryIO | None = None
    pending = b""  # the beginning of a line whose rest is not written yet
    first = True
    try:
        while True:
            if file is None:
                try:
                    file = path.open("rb")
                except FileNotFoundError:
                    time.sleep(POLL_S)
                    first = False  # a file that appears later is new: show it whole
                    continue
                if first:
                    entries, end = until_now(file, path, count, wanted)
                    yield from entries
                    file.seek(end)
                first = False
            pending += file.read()
            complete, newline, pending = pending.rpartition(b"\n")
            if newline:
                yield complete
            if _was_replaced(file, path):
                # What came between our last read and the rotation is still in the old file.
                pending += file.read()
                if pending:
                    yield pending
                file.close()
                file, pending = None, b""
            else:
                if os.fstat(file.fileno()).st_size < file.tell():
                    file.seek(0)
                time.sleep(POLL_S)
    finally:
        if file is not None:
            file.close()


def _was_replaced(file: BinaryIO, path: Path) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False  # in the middle of a rotation, or for good: the old file stays open
    ours = os.fstat(file.fileno())
    return (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino)


def _entries(lines: Iterator[bytes], more: Iterator[bytes], wanted: Wanted) -> Iterator[Entry]:
    for line in chain(lines, more):
        if line and wanted.matches(entry := decode(line)):
            yield entry


def _lines_of_older(path: Path) -> Iterator[bytes]:
    """Of `path`.1, `path`.2 … as far as they exist; the last line first."""
    number = 1
    while (file := path.with_name(f"{path.name}.{number}")).exists():
        yield from _lines_backwards(file)
        number += 1


def _lines_backwards(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from _split_backwards(file, file.seek(0, os.SEEK_END))
    except FileNotFoundError:
        return


def _split_backwards(file: BinaryIO, end: int) -> Iterator[bytes]:
    """What `content[:end].split(b"\\n")` would give, from the last to the first."""
    rest = b""  # the end of a line whose start is not read yet
    while end > 0:
        step = min(BLOCK, end)
        end -= step
        file.seek(end)
        first, *lines = (file.read(step) + rest).split(b"\n")
        yield from reversed(lines)
        rest = first
    yield rest
