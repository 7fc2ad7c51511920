"""One SQLite file: opened, brought to this version's schema, read and written.

The file is in WAL mode: readers never wait for the writer. A file that is no database, or a
damaged one, is moved aside and a fresh one takes its place; what was readable is not deleted.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Table, create_engine, event, exc, insert
from sqlalchemy.dialects.sqlite import Insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.pool import NullPool, StaticPool

from ... import migrations
from .latency import histogram
from .rows import UsageRow
from .tables import SUMMED, metadata, usage, usage_latency, usage_minutes, usage_quarters

log = logging.getLogger(__name__)

BUSY_TIMEOUT_S = 1.0  # then the writer keeps its rows and tries again
TEXT_LIMIT = 500  # characters; error messages may quote a peer's long answer


class StoreUnavailable(Exception):
    """The database cannot be used at the moment; the message says why and what helps."""


class Database:
    """An open file at this version's schema. Writing is for one thread, reading for any.

    Raises `StoreUnavailable`, `sqlalchemy.exc.DBAPIError` or OSError when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = _engine(path, read_only=False)
        self._reading = _engine(path, read_only=True)
        self._changing = _engine(path, read_only=False, lasting=False)
        try:
            with self._writing.begin() as connection:
                migrate(connection, path)
            self._identity = _identity(path)
        except BaseException:
            self.close()
            raise

    def write(self, rows: Sequence[UsageRow]) -> None:
        """All rows and their sums, or none of them."""
        values = [_values(row) for row in rows]
        with self._writing.begin() as connection:
            connection.execute(insert(usage), values)
            connection.execute(_adding_to(usage_minutes), sums_per_minute(values))
            connection.execute(_adding_to(usage_quarters), sums_per_quarter(values))
            if counts := histogram(rows):
                connection.execute(_adding_to(usage_latency, ("requests",)), counts)

    def connect(self) -> Connection:
        """A fresh read-only connection; its reads see one moment of the database."""
        return self._reading.connect()

    def change(self) -> AbstractContextManager[Connection]:
        """A transaction on a connection of its own, for any thread; committed at the end."""
        return self._changing.begin()

    def is_replaced(self) -> bool:
        """Whether the path no longer leads to the open file (deleted, or replaced)."""
        return _identity(self._path) != self._identity

    def close(self) -> None:
        self._writing.dispose()
        self._reading.dispose()
        self._changing.dispose()


def open_database(path: Path) -> Database:
    """The database at `path`, made when missing; a damaged file is moved aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return Database(path)
    except exc.DBAPIError as error:
        if not is_damage(error):
            raise
    move_aside(path)
    return Database(path)


def migrate(connection: Connection, path: Path) -> None:
    """Bring the schema to this version; costs one small read when it is already there.

    Raises `StoreUnavailable` for a file that a newer fastmlx wrote: it is left as it is.
    """
    if migrations.current(connection) == migrations.HEAD:
        return
    if migrations.create(connection, metadata):
        return
    try:
        migrations.upgrade(connection)
    except migrations.UnknownRevision as error:
        raise StoreUnavailable(
            f"{path.name} was written by a newer fastmlx (schema {error.revision}; this one knows "
            f"{migrations.HEAD}). Requests are served but not recorded: update fastmlx, or move "
            "the file away."
        ) from None


def move_aside(path: Path) -> None:
    """Rename a damaged database (with its write-ahead log) so that it can still be examined.

    Two processes may find the damage at once: only the first one moves the file.
    """
    with (path.parent / f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _looks_damaged(path):
            return
        aside = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
        for suffix in ("-wal", "-shm", ""):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(path.with_name(aside + suffix))
    log.error("%s is damaged: moved to %s, starting a fresh database", path, aside)


def is_damage(error: exc.DBAPIError) -> bool:
    """Whether the file itself is bad, rather than the disk, a lock or a permission."""
    return _code(error.orig) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_contention(error: exc.DBAPIError) -> bool:
    """Whether another process holds the file; the connection stays good."""
    return _code(error.orig) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def sums_per_minute(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `usage_minutes` for rows of `usage`."""
    return _sums(values, lambda row: {"minute": row["at_ms"] // 60_000, "model": row["model"]})


def sums_per_quarter(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `usage_quarters` for rows of `usage`."""
    return _sums(
        values,
        lambda row: {
            "quarter": row["at_ms"] // 900_000,
            "model": row["model"],
            "key": row["key"] or "",
        },
    )


def _sums(
    values: Sequence[dict[str, Any]], place: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in values:
        key = place(row)
        entry = sums.setdefault(tuple(key.values()), key | dict.fromkeys(SUMMED, 0))
        entry["requests"] += 1
        entry["errors"] += row["error"] is not None
        for name in SUMMED[2:]:
            entry[name] += row[name]
    return list(sums.values())


def _adding_to(table: Table, summed: Sequence[str] = SUMMED) -> Insert:
    """Puts rows of sums into the table, or adds them to those that are there."""
    put = sqlite_insert(table)
    return put.on_conflict_do_update(
        set_={name: table.c[name] + put.excluded[name] for name in summed}
    )


def _values(row: UsageRow) -> dict[str, Any]:
    return {
        name: _text(value) if isinstance(value, str) else value
        for name, value in msgspec.structs.asdict(row).items()
    }


def _text(value: str) -> str:
    # A client's header may hold what UTF-8 cannot: lone surrogates.
    return value[:TEXT_LIMIT].encode("utf-8", "replace").decode("utf-8")


def _engine(path: Path, *, read_only: bool, lasting: bool = True) -> Engine:
    """`lasting`: one connection that writes, kept open; it alone may make the file."""
    mode = "ro" if read_only else "rwc" if lasting else "rw"
    uri = f"{path.absolute().as_uri()}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    pool = StaticPool if lasting and not read_only else NullPool
    engine = create_engine("sqlite://", creator=connect, poolclass=pool)

    # The driver begins transactions late and not before DDL; SQLite's own BEGIN does it right.
    # IMMEDIATE: two processes that migrate at once wait for each other instead of failing.
    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _looks_damaged(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
            return connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",)
    except sqlite3.DatabaseError as error:
        return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _code(error: BaseException | None) -> int:
    """SQLite's primary result code; the higher bits say more than is asked here."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
