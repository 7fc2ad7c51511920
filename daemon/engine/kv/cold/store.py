"""The cold tier as the engine sees it: look up, read, write. Nothing here waits for a disk."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from ....cold.index import Index
from ....protocol.wire import ColdStats
from ..hashes import BlockHash
from .blob import Blob
from .pending import WriteQueue
from .reader import Reader
from .stats import Counters
from .ticket import Ticket
from .writer import Writer

log = logging.getLogger(__name__)

QUEUE_BYTES = 256 << 20
_CLEAR_WAIT_S = 5.0
_LOOKUP_TIMEOUT_S = 0.02  # a reader of a WAL database waits for nobody, but for a recovery


class ColdStore:
    """Blocks and checkpoints in a directory on SSD, which other engines use at the same time.

    No method raises, whatever the disk does: a lookup finds nothing, a write is dropped and
    counted. `directory` is made when it is missing. `limit_bytes` holds for all files in it with
    the index, `write_budget_bytes_per_day` for what all engines write to it in a day (UTC);
    None is no budget. `queue_bytes` bounds the memory of what waits to be written.

    Methods are for one thread, but for `clear` and `stats`, which any may call.
    """

    def __init__(
        self,
        directory: Path,
        limit_bytes: int,
        write_budget_bytes_per_day: int | None = None,
        *,
        queue_bytes: int = QUEUE_BYTES,
        clock: Callable[[], float] = time.time,
        open_timeout_s: float = 2.0,
    ) -> None:
        self._directory = directory
        self._counters = Counters()
        self._counters.set(limit_bytes=limit_bytes)
        self._pending = WriteQueue(queue_bytes)
        self._index: Index | None = None
        self._index_lock = threading.Lock()
        self._writer = Writer(
            directory,
            limit_bytes,
            write_budget_bytes_per_day,
            self._pending,
            self._counters,
            clock,
        )
        self._reader = Reader(directory, self._pending, self._counters, self._writer.forget)
        self._writer.opened.wait(open_timeout_s)

    # ---- reading

    def lookup(self, blocks: Sequence[BlockHash]) -> int:
        """How many of the first blocks are stored, without a gap."""
        return next((i for i, size in enumerate(self.sizes(blocks)) if size is None), len(blocks))

    def sizes(self, blocks: Sequence[BlockHash]) -> list[int | None]:
        """For each block about how many bytes it is, or None where it is not stored.

        For checkpoints, of which any may be there without the others.
        """
        waiting = [self._pending.find(block) for block in blocks]
        stored = self._stored(blocks)
        return [
            blob.nbytes if blob is not None else size
            for blob, size in zip(waiting, stored, strict=True)
        ]

    def _stored(self, blocks: Sequence[BlockHash]) -> list[int | None]:
        with self._index_lock:
            try:
                if self._index is None or self._index.is_replaced:
                    self._drop_index()
                    self._index = Index(
                        self._directory, timeout_s=_LOOKUP_TIMEOUT_S, read_only=True
                    )
                return self._index.stored(blocks)
            except (OSError, sqlite3.Error):
                # The writer meets the same trouble and says so.
                self._drop_index()
                return [None] * len(blocks)

    def _drop_index(self) -> None:
        if self._index is not None:
            with suppress(sqlite3.Error):
                self._index.close()
            self._index = None

    def read(
        self, blocks: Sequence[BlockHash], on_done: Callable[[], None] | None = None
    ) -> Ticket:
        """Begins to read these blocks, up to the first that is missing. They count as used."""
        ticket = Ticket(blocks, on_done)
        self._writer.touch(list(blocks))
        self._reader.put(ticket)
        return ticket

    def touch(self, blocks: Sequence[BlockHash]) -> None:
        """These prefixes were used, from memory: their blocks here shall not grow old meanwhile."""
        self._writer.touch(list(blocks))

    # ---- writing

    def write(self, block: BlockHash, blob: Blob) -> bool:
        """Queues the blob; false when it is dropped. What is stored already is not written again.

        The arrays must not change until they are written.
        """
        if self._writer.is_off or not self._pending.put(block, blob):
            self._counters.add(dropped_blocks=1)
            return False
        return True

    def limit(self, limit_bytes: int, write_budget_bytes_per_day: int | None) -> None:
        """Other limits from now on; what is too much is evicted soon."""
        self._counters.set(limit_bytes=limit_bytes)
        self._writer.limit(limit_bytes, write_budget_bytes_per_day)

    def drop(self) -> None:
        """Forgets what waits to be written."""
        self._pending.drop()

    def flush(self, timeout_s: float) -> bool:
        """Waits until all that was queued is on disk or lost; false when it took too long."""
        return self._pending.wait_until_empty(timeout_s)

    def clear(self, model: str | None = None) -> None:
        """Drops what waits to be written for this model, or for all, and deletes what is stored.

        Waits for the disk: for a thread that may.
        """
        self._pending.drop(model)
        self._pending.wait_until_empty(_CLEAR_WAIT_S)  # what is being written goes as well
        with suppress(OSError, sqlite3.Error):
            index = Index(self._directory)
            try:
                index.clear(model)
            finally:
                index.close()

    def close(self, timeout_s: float = 5.0) -> None:
        """Ends both threads. What still waits is lost: `flush` first."""
        deadline_s = time.monotonic() + timeout_s
        self._writer.close(timeout_s)
        self._reader.close(max(0.0, deadline_s - time.monotonic()))
        with self._index_lock:
            self._drop_index()

    # ---- books

    def stats(self) -> ColdStats:
        self._counters.set(queued_bytes=self._pending.queued_bytes)
        return self._counters.now()
