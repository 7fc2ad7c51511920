"""Files that no row of the index knows: adopted when they are whole, deleted when they are not.

There are some after the index was lost, or after the machine (not the process) crashed.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ....cold import layout
from ....cold.index import STALE_MS, Entry, Index
from .file import MAX_HEADER_BYTES, BadFile, parse_header

log = logging.getLogger(__name__)


def sweep_one(index: Index, now_ms: int) -> bool:
    """Looks into one folder that may hold unknown files; false when there is none left to see.

    May raise sqlite3.Error or OSError.
    """
    letter = index.unknown_folder()
    if letter is None:
        return False
    try:
        paths = list(layout.folder(index.directory, letter).iterdir())
    except FileNotFoundError:
        paths = []
    known = index.known_in(letter)
    entries: list[Entry] = []
    removed = 0
    for path in paths:
        block = layout.hash_of(path.name)
        if block is None or block in known:
            continue  # not ours to delete, or in order
        if path.suffix == layout.TEMPORARY:
            removed += _remove_if_old(path, now_ms)
            continue
        entry = _entry(path, block)
        if entry is None:
            path.unlink(missing_ok=True)
            removed += 1
        else:
            entries.append(entry)
    index.adopt(entries, now_ms)
    index.looked_into(letter)
    if entries or removed:
        log.warning(
            "%s: %d blocks that the index did not know were taken up, %d files dropped",
            layout.folder(index.directory, letter),
            len(entries),
            removed,
        )
    return True


def _remove_if_old(path: Path, now_ms: int) -> bool:
    try:
        if path.stat().st_mtime * 1000 > now_ms - STALE_MS:
            return False  # another engine may be writing it; the next look into the folder decides
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _entry(path: Path, block: bytes) -> Entry | None:
    """What the file's header says, where its length is right; the content is checked when read."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = int.from_bytes(start, "little")
            if length > min(size, MAX_HEADER_BYTES):
                return None
            header = parse_header(memoryview(start + file.read(length)))
    except (OSError, BadFile):
        return None
    if header.file_bytes != size or header.metadata["hash"] != block.hex():
        return None
    metadata = header.metadata
    return Entry(block, metadata["model"], int(metadata["position"]), layout.disk_bytes(size))
