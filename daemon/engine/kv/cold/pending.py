"""Blobs that wait for the disk: bounded in bytes, found by their hash while they wait."""

from __future__ import annotations

import threading
from collections import OrderedDict

from ..hashes import BlockHash
from .blob import Blob


class WriteQueue:
    """First in, first out. A blob can be found until `done` says that it is on disk, or lost."""

    def __init__(self, capacity_bytes: int) -> None:
        self._capacity_bytes = capacity_bytes
        self._waiting: OrderedDict[BlockHash, Blob] = OrderedDict()
        self._taken: dict[BlockHash, Blob] = {}  # the writer has them at hand
        self._bytes = 0  # of both
        self._changed = threading.Condition()

    @property
    def queued_bytes(self) -> int:
        return self._bytes

    def put(self, block: BlockHash, blob: Blob) -> bool:
        """False when there is no room; true as well for what waits already. Never blocks."""
        size = blob.nbytes
        with self._changed:
            if block in self._waiting or block in self._taken:
                return True
            if self._bytes + size > self._capacity_bytes:
                return False
            self._waiting[block] = blob
            self._bytes += size
            self._changed.notify_all()
            return True

    def find(self, block: BlockHash) -> Blob | None:
        with self._changed:
            return self._waiting.get(block) or self._taken.get(block)

    def take(self, at_most: int, at_most_bytes: int) -> dict[BlockHash, Blob]:
        """The next blobs, which `done` must be told about; at least one if there is any."""
        with self._changed:
            size = 0
            while self._waiting and len(self._taken) < at_most:
                block, blob = next(iter(self._waiting.items()))
                size += blob.nbytes
                if self._taken and size > at_most_bytes:
                    break
                self._taken[block] = self._waiting.pop(block)
            return dict(self._taken)

    def done(self) -> None:
        """What was taken is on disk, or lost."""
        with self._changed:
            self._bytes -= sum(blob.nbytes for blob in self._taken.values())
            self._taken.clear()
            self._changed.notify_all()

    def drop(self, model: str | None = None) -> int:
        """Forgets what waits (for this model, or all) but is not taken. Returns how many."""
        with self._changed:
            gone = [b for b, blob in self._waiting.items() if model in (None, blob.model)]
            for block in gone:
                self._bytes -= self._waiting.pop(block).nbytes
            self._changed.notify_all()
            return len(gone)

    def wake(self) -> None:
        """Ends a `wait_for_work` early."""
        with self._changed:
            self._changed.notify_all()

    def wait_for_work(self, timeout_s: float) -> bool:
        """Whether anything waits, at once or within this time; may end early."""
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            return bool(self._waiting)

    def wait_until_empty(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._taken, max(timeout_s, 0)
            )
