"""The store: `record` from anywhere at any time, `read` and `change` from the event loop.

Inference must never wait for a disk. Rows go into a bounded queue in memory and one thread writes
what has gathered every 100 ms. Whatever is wrong with the file (locked, full disk, no permission,
damaged, written by a newer fastmlx) stands in `problem`; the thread keeps trying, and rows that no
longer fit into the queue meanwhile are counted in `dropped`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, exc

from .database import Database, StoreUnavailable, is_damage
from .rows import UsageRow
from .writer import Writer

CAPACITY = 10_000  # rows; about 5 MB

P = ParamSpec("P")
T = TypeVar("T")


class Store:
    """The usage database of one home. Made by `Store.open`, ended by `close`."""

    def __init__(self, path: Path, *, capacity: int = CAPACITY) -> None:
        self.path = path
        self._writer = Writer(path, capacity)
        self._changes = threading.Lock()  # one change after the other, as SQLite wants it

    @classmethod
    def open(cls, path: Path, *, capacity: int = CAPACITY) -> Store:
        """Start the writer thread, which opens and migrates the file. Never blocks or raises.

        `record` works at once; `read` as soon as the file is open.
        """
        store = cls(path, capacity=capacity)
        store._writer.start()
        return store

    def record(self, row: UsageRow) -> None:
        """Keep a row for the writer, or count it as dropped. Never blocks, never raises."""
        self._writer.put(row)

    @property
    def problem(self) -> str | None:
        """Why nothing is recorded at the moment, in a sentence; None when all is well."""
        return self._writer.problem

    @property
    def written(self) -> int:
        """Rows on disk since the start."""
        return self._writer.written

    @property
    def dropped(self) -> int:
        """Rows lost since the start."""
        return self._writer.lost

    async def read(
        self,
        query: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a function of `daemon.store.queries` on a read-only connection, in a thread:
        `await store.read(queries.totals, since_ms)`.

        Raises `StoreUnavailable` with a message for the user.
        """
        return await asyncio.to_thread(self._read, query, *args, **kwargs)

    async def change(
        self,
        change: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a function of `daemon.store.responses` in a transaction of its own, in a thread. What
        it did is on disk when this returns, and is there after the process was killed.

        Raises `StoreUnavailable` with a message for the user; then nothing was changed.
        """
        return await asyncio.to_thread(self._change, change, *args, **kwargs)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Block until the file is open and every row recorded so far is on disk or lost.

        False when the time is over first.
        """
        return self._writer.flush(timeout_s)

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what is queued, for at most `timeout_s`, and stop. Blocks; idempotent."""
        self._writer.close(timeout_s)

    def _change(
        self,
        change: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            with self._changes, self._opened().change() as connection:
                return change(connection, *args, **kwargs)
        except exc.DBAPIError as error:
            raise self._trouble(error, "changed") from error

    def _read(
        self,
        query: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        try:
            with self._opened().connect() as connection:
                return query(connection, *args, **kwargs)
        except exc.DBAPIError as error:
            raise self._trouble(error, "read") from error

    def _opened(self) -> Database:
        database = self._writer.database
        if database is None:
            raise StoreUnavailable(self.problem or "The usage database is being opened.")
        return database

    def _trouble(self, error: exc.DBAPIError, done: str) -> StoreUnavailable:
        if is_damage(error):
            self._writer.report_damage()
        return StoreUnavailable(f"{self.path.name} cannot be {done}: {error.orig}")
