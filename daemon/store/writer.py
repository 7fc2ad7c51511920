"""The one thread that writes to the database, and what it does when it cannot.

    row ──► queue (bounded) ──► pending (at most a batch) ──► transaction ──► disk
             full: row lost        trouble: kept, tried again

A row leaves `pending` only when it is on disk or known to be unstorable, so a row is never written
twice and trouble that passes costs nothing until the queue is full.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections import deque
from pathlib import Path

from sqlalchemy import exc

from .database import (
    Database,
    StoreUnavailable,
    is_contention,
    is_damage,
    move_aside,
    open_database,
)
from .rows import UsageRow

log = logging.getLogger(__name__)

BATCH = 1_000  # rows per transaction; it takes a few milliseconds
GATHER_S = 0.1  # what arrives within it shares a transaction
CROWD = 8  # rows of one transaction, after which
CROWD_GATHER_S = 0.5  # is what the next one gathers
RETRY_S = (0.2, 1.0, 5.0)  # after the first, the second and every further failure


class Writer:
    """Owns the open `database` (None while there is none). Counters only grow."""

    def __init__(self, path: Path, capacity: int) -> None:
        self.path = path
        self.database: Database | None = None
        self.problem: str | None = None
        self.written = 0
        self.lost = 0
        self._rows: queue.Queue[UsageRow | None] = queue.Queue(capacity)
        self._pending: deque[UsageRow] = deque()
        self._crowd = False  # whether many rows come
        self._failures = 0  # in a row
        self._damaged = False
        self._closing = threading.Event()
        self._changed = threading.Condition()  # guards the counters
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, row: UsageRow) -> None:
        """Queue a row, or count it as lost. Any thread; never blocks, never raises."""
        try:
            if self._closing.is_set():
                raise queue.Full
            self._rows.put_nowait(row)
        except queue.Full:
            self._count(lost=1)

    def report_damage(self) -> None:
        """A reader met a broken page: the file is moved aside before the next row is written."""
        self._damaged = True

    def flush(self, timeout_s: float) -> bool:
        """Wait until the file is open and every row put so far is on disk or lost."""
        with self._changed:
            target = self.written + self.lost + self._rows.qsize() + len(self._pending)
            return self._changed.wait_for(
                lambda: self.database is not None and self.written + self.lost >= target, timeout_s
            )

    def close(self, timeout_s: float) -> None:
        """Write what is queued and end the thread; one more failure ends it too. Idempotent."""
        self._closing.set()
        with contextlib.suppress(queue.Full):  # then the thread is not waiting for a row
            self._rows.put_nowait(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._is_finished():
            try:
                self._ensure_open()
                self._gather()
                self._write()
            except Exception as error:
                self._note_trouble(error)
                self._closing.wait(RETRY_S[min(self._failures, len(RETRY_S)) - 1])
            else:
                self._note_success()
        with contextlib.suppress(queue.Empty):
            while True:
                if (row := self._rows.get_nowait()) is not None:
                    self._pending.append(row)
        self._count(lost=len(self._pending))
        self._drop_database()

    def _is_finished(self) -> bool:
        if not self._closing.is_set():
            return False
        return bool(self._failures) or not (self._pending or self._rows.qsize())

    def _ensure_open(self) -> None:
        if self.database is not None and (self._damaged or self.database.is_replaced()):
            self._drop_database()
        if self._damaged:
            move_aside(self.path)
            self._damaged = False
        if self.database is None:
            database = open_database(self.path)
            with self._changed:
                self.database = database
                self._changed.notify_all()

    def _gather(self) -> None:
        """Wait for a row, then a moment for more; nothing while rows are pending."""
        if self._pending:
            return
        row = self._rows.get()
        self._closing.wait(CROWD_GATHER_S if self._crowd else GATHER_S)
        with contextlib.suppress(queue.Empty):
            while True:
                if row is not None:
                    self._pending.append(row)
                if len(self._pending) == BATCH:
                    break
                row = self._rows.get_nowait()
        self._ensure_open()  # the file may have gone while we waited

    def _write(self) -> None:
        if not self._pending:
            return
        assert self.database is not None
        try:
            self.database.write(list(self._pending))
        except Exception as error:
            if _may_pass(error):
                raise
            self._write_one_by_one()
        else:
            count = len(self._pending)
            self._crowd = count >= CROWD
            self._pending.clear()
            self._count(written=count)

    def _write_one_by_one(self) -> None:
        """One row cannot be stored at all (a number beyond 64 bits): find and drop it."""
        assert self.database is not None
        while self._pending:
            row = self._pending[0]
            try:
                self.database.write([row])
            except Exception as error:
                if _may_pass(error):
                    raise
                log.warning("the usage of request %s is not recorded: %s", row.request_id, error)
                self._pending.popleft()
                self._count(lost=1)
            else:
                self._pending.popleft()
                self._count(written=1)

    def _note_trouble(self, error: Exception) -> None:
        self._failures += 1
        self.problem = explain(error, self.path)
        if self._failures == 1:
            log.warning("%s", self.problem)
        if isinstance(error, exc.DBAPIError):
            self._damaged = self._damaged or is_damage(error)
            if not is_contention(error):
                self._drop_database()

    def _note_success(self) -> None:
        if self._failures:
            log.warning("%s: recording again; %d rows were lost", self.path.name, self.lost)
        self._failures = 0
        self.problem = None

    def _drop_database(self) -> None:
        if self.database is not None:
            self.database.close()
            self.database = None

    def _count(self, *, written: int = 0, lost: int = 0) -> None:
        with self._changed:
            self.written += written
            self.lost += lost
            self._changed.notify_all()


def explain(error: Exception, path: Path) -> str:
    """One sentence for the log and the page."""
    if isinstance(error, StoreUnavailable):
        return str(error)
    reason = error.orig if isinstance(error, exc.DBAPIError) else error
    return f"Requests are served but not recorded: {path}: {reason}"


def _may_pass(error: Exception) -> bool:
    """Whether the same row may be accepted later: the file is at fault, not the row."""
    if isinstance(error, (OSError, exc.OperationalError)):
        return True
    return isinstance(error, exc.DBAPIError) and is_damage(error)
