"""The thread that reads: tickets in, blobs out, what is unfit reported."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ....cold import layout
from ..hashes import BlockHash
from .blob import Blob
from .file import BadFile, decode
from .pending import WriteQueue
from .stats import Counters
from .ticket import Ticket

log = logging.getLogger(__name__)


class Reader:
    """`forget` hears of every block whose file is missing or unfit."""

    def __init__(
        self,
        directory: Path,
        pending: WriteQueue,
        counters: Counters,
        forget: Callable[[BlockHash], None],
    ) -> None:
        self._directory = directory
        self._pending = pending
        self._counters = counters
        self._forget = forget
        self._tickets: queue.SimpleQueue[tuple[Ticket, float] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cold-reader", daemon=True)
        self._thread.start()

    def put(self, ticket: Ticket) -> None:
        self._tickets.put((ticket, time.monotonic()))

    def close(self, timeout_s: float) -> None:
        """Ends the thread after the tickets that wait."""
        self._tickets.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (item := self._tickets.get()) is not None:
            ticket, asked_s = item
            try:
                self._read_all(ticket)
            except Exception:  # a bug of ours must cost a prefill, not the engine
                log.exception("the cold tier's reader failed")
            seconds = time.monotonic() - asked_s
            self._counters.observe_read(seconds)
            try:
                ticket.finish(seconds)
            except Exception:
                log.exception("whoever waited for a block failed")

    def _read_all(self, ticket: Ticket) -> None:
        for block in ticket.blocks:
            if ticket.cancelled:
                return
            blob = self._pending.find(block) or self._read(block)
            if blob is None:
                return
            ticket.add(blob)
            self._counters.add(read_blocks=1, read_bytes=blob.nbytes)

    def _read(self, block: BlockHash) -> Blob | None:
        path = layout.block_path(self._directory, block)
        try:
            return decode(block, memoryview(read_file(path)))
        except (FileNotFoundError, NotADirectoryError):
            pass  # never stored, evicted a moment ago, or deleted by someone: nothing to tell
        except BadFile as error:
            log.warning("%s is dropped: %s", path, error)
            self._counters.add(bad_blocks=1)
        except (OSError, MemoryError) as error:
            log.warning("%s cannot be read: %s", path, error)
            return None
        self._forget(block)
        return None


def read_file(path: Path) -> bytearray:
    """All bytes of the file, or as many as there are. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        data = bytearray(os.fstat(file.fileno()).st_size)
        view = memoryview(data)
        filled = 0
        while filled < len(data):
            count = file.readinto(view[filled:])
            if not count:
                break  # cut off meanwhile: the checksum will tell
            filled += count
    return data
