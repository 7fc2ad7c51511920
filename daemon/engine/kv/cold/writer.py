"""The thread that writes: takes what waits, makes room, writes files, tidies up when idle.

    put → queue (bounded in bytes) → reserve rows → files: write, fsync, rename → commit rows
           full: dropped              over budget, no room: refused     trouble: lost, tier off

Whatever goes wrong costs what was to be written and a line in the log; then the tier refuses
writes for a while and tries again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ....cold import layout
from ....cold.index import Entry, Index
from ..hashes import BlockHash
from . import sweep
from .blob import Blob
from .file import Encoded, encode
from .pending import WriteQueue
from .stats import Counters

log = logging.getLogger(__name__)

BATCH = 64  # blocks that share two transactions and the folders' fsync
BATCH_BYTES = 64 << 20
ORDERS_S = 5.0  # after which the use of blocks is written down
IDLE_S = 60.0  # between looks at the directory while nothing happens
FREE_BYTES = 1 << 30  # of the disk that are left to others, or FREE_SHARE of it
FREE_SHARE = 0.05
_BUFFERS = 512  # of a system call; POSIX promises 16, Linux and macOS take 1024
RETRY_S = (1.0, 5.0, 30.0, 60.0)  # after the first, the second … failure in a row


class Writer:
    """Owns the index's writing connection. All public methods return at once, from any thread."""

    def __init__(
        self,
        directory: Path,
        limit_bytes: int,
        budget_bytes: int | None,
        queue: WriteQueue,
        counters: Counters,
        clock: Callable[[], float],
    ) -> None:
        self.limit_bytes = limit_bytes
        self.budget_bytes = budget_bytes
        self.opened = threading.Event()  # the directory was looked at once, for better or worse
        self._directory = directory
        self._queue = queue
        self._counters = counters
        self._clock = clock
        self._owner = secrets.randbits(62)  # tells our rows from those of other writers
        self._index: Index | None = None
        self._failures = 0  # since blocks were last written
        self._is_off = False
        self._due_s = 0.0  # when to do something although nothing waits to be written
        self._lock = threading.Lock()  # guards the orders below
        self._touched: dict[bytes, int] = {}
        self._unfit: set[bytes] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cold-writer", daemon=True)
        self._thread.start()

    @property
    def is_off(self) -> bool:
        """Whether writes are refused for a while, after trouble."""
        return self._is_off

    def limit(self, limit_bytes: int, budget_bytes: int | None) -> None:
        self.limit_bytes, self.budget_bytes = limit_bytes, budget_bytes
        self._hurry(0.0)

    def touch(self, blocks: list[BlockHash]) -> None:
        """These were used just now."""
        now_ms = self._now_ms()
        with self._lock:
            self._touched.update(dict.fromkeys(blocks, now_ms))
        self._hurry(ORDERS_S)

    def forget(self, block: BlockHash) -> None:
        """This one's file is missing or unfit."""
        with self._lock:
            self._unfit.add(block)
        self._hurry(0.0)

    def _hurry(self, seconds: float) -> None:
        due_s = time.monotonic() + seconds
        if not self.is_off and due_s < self._due_s:
            self._due_s = due_s
            self._queue.wake()

    def close(self, timeout_s: float) -> None:
        """Ends the thread after what it has at hand; what waits stays unwritten."""
        self._closing.set()
        self._queue.wake()
        self._thread.join(timeout_s)

    # ---- the thread

    def _run(self) -> None:
        while not self._closing.is_set():
            wait_s = self._due_s - time.monotonic()
            has_work = self._queue.wait_for_work(max(0.0, wait_s))
            if self.is_off:
                self._refuse()
                has_work = False
            if self._closing.is_set() or not (has_work or time.monotonic() >= self._due_s):
                continue
            try:
                self._due_s = time.monotonic() + (ORDERS_S if has_work else IDLE_S)
                index = self._open()
                self._note_open()
                self._work(index, has_work)
            except (OSError, sqlite3.Error) as error:
                self._note_trouble(error)
            except Exception as error:  # a bug of ours must cost blocks, not the engine
                log.exception("the cold tier's writer failed")
                self._note_trouble(error)
            self.opened.set()
        self._refuse()
        with contextlib.suppress(OSError, sqlite3.Error):
            if self._index is not None:
                self._orders(self._index)
                self._index.tidy()
        self._drop_index()

    def _open(self) -> Index:
        if self._index is not None and self._index.is_replaced:
            self._drop_index()
        if self._index is None:
            self._index = Index(self._directory)
            # A crash of the machine may leave files that no row knows: look for some each time.
            self._index.suspect(layout.FOLDERS[self._owner % len(layout.FOLDERS)])
            self._index.drop_stale(self._now_ms())
            self._count_directory()
            self._index.shrink(self._limit())
        return self._index

    def _work(self, index: Index, has_work: bool) -> None:
        # Files that nobody counts come first: the size limit holds for them as well.
        swept = False
        while not self._closing.is_set() and sweep.sweep_one(index, self._now_ms()):
            swept = True
        if swept:
            self._counters.add(evicted_blocks=index.shrink(self._limit()))
        self._orders(index)
        if has_work:
            self._write(index, self._queue.take(BATCH, BATCH_BYTES))
            self._queue.done()
        else:
            index.drop_stale(self._now_ms())
            self._counters.add(evicted_blocks=index.shrink(self._limit()))
            index.tidy()
        self._count_directory()

    def _orders(self, index: Index) -> None:
        """What was touched, and what proved unfit."""
        with self._lock:
            touched, self._touched = self._touched, {}
            unfit, self._unfit = self._unfit, set()
        if unfit:
            index.forget(unfit)
        if touched:
            index.touch(touched)

    def _write(self, index: Index, blobs: dict[BlockHash, Blob]) -> None:
        encoded = {block: encode(block, blob) for block, blob in blobs.items()}
        entries = {
            block: Entry(block, blob.model, blob.position, layout.disk_bytes(encoded[block].length))
            for block, blob in blobs.items()
        }
        now_ms = self._now_ms()
        reserved = index.reserve(
            self._owner,
            list(entries.values()),
            now_ms=now_ms,
            limit_bytes=self._limit(),
            budget_bytes=self.budget_bytes,
        )
        self._counters.add(
            over_budget_blocks=len(reserved.over_budget),
            no_room_blocks=len(reserved.no_room),
            evicted_blocks=reserved.evicted,
        )
        if not reserved.accepted:
            return
        try:
            write_files(self._directory, {b: encoded[BlockHash(b)] for b in reserved.accepted})
            lost = index.commit(self._owner, reserved.accepted)
        except BaseException:
            with contextlib.suppress(OSError, sqlite3.Error):
                index.abandon(self._owner, reserved.accepted)
            raise
        if lost:  # the machine slept through STALE_MS: the files are there all the same
            index.adopt([entries[BlockHash(block)] for block in lost], self._now_ms())
        self._note_written()
        self._counters.add(
            written_blocks=len(reserved.accepted),
            written_bytes=sum(encoded[BlockHash(b)].length for b in reserved.accepted),
        )

    def _limit(self) -> int:
        """The size limit, or less on a disk that is nearly full: it is not ours to fill."""
        disk = shutil.disk_usage(self._directory)
        spare = disk.free - min(FREE_BYTES, int(disk.total * FREE_SHARE))
        return min(self.limit_bytes, self._counters.now().directory_bytes + spare)

    def _count_directory(self) -> None:
        if self._index is None:
            return
        totals = self._index.totals(self._now_ms())
        self._counters.set(
            directory_bytes=totals.size_bytes,
            directory_blocks=sum(model.blocks for model in totals.models.values()),
            written_today_bytes=totals.written_today_bytes,
        )

    # ---- trouble

    def _note_trouble(self, error: Exception) -> None:
        self._is_off = True
        self._failures += 1
        pause_s = RETRY_S[min(self._failures, len(RETRY_S)) - 1]
        self._due_s = time.monotonic() + pause_s
        problem = f"the cold tier in {self._directory} is off: {error}"
        if self._failures == 1:
            log.warning("%s", problem)
        self._counters.set(problem=problem)
        self._refuse()
        self._drop_index()

    def _note_open(self) -> None:
        if self._is_off:
            self._is_off = False
            self._counters.set(problem=None)

    def _note_written(self) -> None:
        if self._failures:
            log.warning("the cold tier in %s works again", self._directory)
            self._failures = 0

    def _refuse(self) -> None:
        """Lets go of everything that was to be written."""
        failed = len(self._queue.take(0, 0))
        self._queue.done()
        self._counters.add(failed_blocks=failed, dropped_blocks=self._queue.drop())

    def _drop_index(self) -> None:
        if self._index is not None:
            with contextlib.suppress(sqlite3.Error):
                self._index.close()
            self._index = None

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def write_files(directory: Path, files: dict[bytes, Encoded]) -> None:
    """Writes all files and makes them durable before the first gets its name. Raises OSError.

    fsync, not F_FULLFSYNC on macOS: a block that the drive loses with its cache is found out by
    its checksum, and costs a prefill instead of milliseconds a block.
    """
    opened: list[int] = []
    try:
        for block, encoded in files.items():
            opened.append(_create(layout.temporary_path(directory, block)))
            _write_all(opened[-1], encoded)
        for file in opened:
            os.fsync(file)
    finally:
        for file in opened:
            os.close(file)
    for block in files:
        layout.temporary_path(directory, block).rename(layout.block_path(directory, block))
    for folder in sorted({layout.block_path(directory, block).parent for block in files}):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _create(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, flags, 0o600)


def _write_all(file: int, encoded: Encoded) -> None:
    # One call for many arrays: each one gives up the interpreter and has to get it back.
    buffers = [memoryview(buffer) for buffer in encoded.buffers]
    while buffers:
        written = os.writev(file, buffers[:_BUFFERS])
        while buffers and written >= len(buffers[0]):
            written -= len(buffers.pop(0))
        if written:
            buffers[0] = buffers[0][written:]
