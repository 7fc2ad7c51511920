"""What a daemon leaves behind, looked at from outside: its database and its cold tier."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from fastmlx.daemon.cold import layout, schema
from fastmlx.daemon.cold.index import Index
from fastmlx.daemon.engine.kv.cold import file


def check_home(home: Path) -> None:
    """AssertionError unless the prefixes on disk are whole that a daemon left when it stopped."""
    if (home / "cache" / schema.NAME).is_file():
        check_cold(home / "cache")


def check_database(path: Path) -> int:
    """AssertionError unless SQLite finds the file whole; returns how many requests it tells of."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return db.execute("SELECT count(*) FROM usage").fetchone()[0]


def check_cold(directory: Path) -> int:
    """AssertionError unless index and files agree and every block's checksum is right; returns how
    many blocks there are. For a directory to which nobody writes. What was being written when its
    engine was killed has a row of its own, which grows old, and is no fault."""
    with closing(Index(directory)) as index:
        index.check()
        paths = [path for path in (directory / "blocks").rglob("*") if path.is_file()]
        whole = [path for path in paths if path.suffix != layout.TEMPORARY]
        blocks = {block: path for path in whole if (block := layout.hash_of(path.name))}
        stored = dict(zip(blocks, index.stored(list(blocks)), strict=True))
        num_readable = sum(size is not None for size in stored.values())
        with closing(sqlite3.connect(directory / schema.NAME)) as db:
            (rows,) = db.execute("SELECT count(*) FROM blocks WHERE owner IS NULL").fetchone()
        assert num_readable == rows, "a row without its file"
        for block in (block for block, size in stored.items() if size is not None):
            file.decode(block, memoryview(blocks[block].read_bytes()))
    return num_readable
