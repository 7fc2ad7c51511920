"""The index as a file: opened, laid out anew, or replaced when it is no database any more."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .layout import FOLDERS

log = logging.getLogger(__name__)

NAME = "index.sqlite"
WAL_BYTES = 1 << 20  # what the write-ahead log is held at
_SHM_BYTES = 1 << 16
_PAGE = 4096
VERSION = 1  # of the schema; another one's index is replaced and its blocks are looked at again
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

# `owner` is set while a block is being written: it takes its place and its bytes before its file
# exists, so that several engines together never pass the limit and a crash leaves no file that
# no row knows. Sums are kept by triggers: nothing is ever added up.
_SCHEMA = """
CREATE TABLE models (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    blocks INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE blocks (
    hash BLOB PRIMARY KEY,
    model INTEGER NOT NULL,
    position INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    used_ms INTEGER NOT NULL,
    owner INTEGER
) WITHOUT ROWID;
CREATE INDEX blocks_used ON blocks (used_ms);
CREATE INDEX blocks_owner ON blocks (owner) WHERE owner IS NOT NULL;
CREATE TABLE written (day INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);
CREATE TABLE unknown (folder TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TRIGGER blocks_added AFTER INSERT ON blocks BEGIN
    UPDATE models SET blocks = blocks + 1, bytes = bytes + new.bytes WHERE id = new.model;
END;
CREATE TRIGGER blocks_removed AFTER DELETE ON blocks BEGIN
    UPDATE models SET blocks = blocks - 1, bytes = bytes - old.bytes WHERE id = old.model;
END;
"""


def connect(directory: Path, *, timeout_s: float, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, for any one thread at a time.

    A writing one makes the directory and the index where they are missing, and replaces what is no
    index of this version. Raises OSError and sqlite3.Error.
    """
    path = directory / NAME
    if read_only:
        return _open(path, timeout_s, "ro")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _lock(directory):
        connection = _open(path, timeout_s, "rwc")
        try:
            if _prepare(connection):
                return connection
            reason = "is of another version"
        except sqlite3.DatabaseError as error:
            connection.close()
            if not is_damage(error):
                raise
            reason = f"is damaged ({error})"
        except BaseException:
            connection.close()
            raise
        connection.close()
        log.warning("%s %s: started anew; the blocks are looked at again", path, reason)
        for suffix in ("", "-wal", "-shm"):
            path.with_name(NAME + suffix).unlink(missing_ok=True)
        connection = _open(path, timeout_s, "rwc")
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _open(path: Path, timeout_s: float, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=timeout_s,
        isolation_level=None,
        check_same_thread=False,
    )


def _prepare(connection: sqlite3.Connection) -> bool:
    """Settings of the connection, tables of a new file; False for another version's tables."""
    is_new = connection.execute("PRAGMA schema_version").fetchone()[0] == 0
    if is_new:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={WAL_BYTES // _PAGE // 2}")
    connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
    if is_new:
        with transaction(connection):
            for statement in _statements(_SCHEMA):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            # Blocks of an index that was lost may lie there: every folder is to be looked at.
            letters = [(letter,) for letter in FOLDERS]
            connection.executemany("INSERT INTO unknown VALUES (?)", letters)
        return True
    # Reads every table's root, so that damage shows here and not in the middle of a step.
    connection.execute("SELECT * FROM blocks LIMIT 1").fetchone()
    return connection.execute("PRAGMA user_version").fetchone()[0] == VERSION


def _statements(script: str) -> Iterator[str]:
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Takes the write lock at once: two processes wait for each other instead of failing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    file = os.open(directory / "index.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is at fault, rather than the disk, a lock or a permission."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE


def index_bytes(directory: Path) -> int:
    """What the index takes of the disk, with what its log and its next rows may come to."""
    sizes = [_size(directory / (NAME + suffix)) for suffix in ("", "-wal", "-shm")]
    return sizes[0] + max(sizes[1], WAL_BYTES) + max(sizes[2], _SHM_BYTES) + _SHM_BYTES


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
