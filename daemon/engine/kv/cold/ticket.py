"""Blocks on their way from SSD."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..hashes import BlockHash
from .blob import Blob


class Ticket:
    """A read that was asked for. Made by `ColdStore.read`, filled by the reader thread.

    `on_done` is called once, on the reader's thread, after `done` has turned true; it must not
    block. A cancelled ticket is done soon, with what was read until then.
    """

    def __init__(
        self, blocks: Sequence[BlockHash], on_done: Callable[[], None] | None = None
    ) -> None:
        self.blocks = tuple(blocks)
        self.seconds = 0.0  # from asking to done
        self._on_done = on_done
        self._blobs: list[Blob] = []
        self._cancelled = False
        self._done = threading.Event()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Nobody wants the rest any more."""
        self._cancelled = True

    def wait(self, timeout_s: float) -> bool:
        """Whether it is done within this time. Not for the MLX thread while anything runs."""
        return self._done.wait(timeout_s)

    def result(self) -> list[Blob]:
        """The blobs in the order of `blocks`, up to the first that is missing. Only when done."""
        assert self._done.is_set(), "not read yet"
        return self._blobs

    # ---- the reader's side

    def add(self, blob: Blob) -> None:
        self._blobs.append(blob)

    def finish(self, seconds: float) -> None:
        self.seconds = seconds
        self._done.set()
        if self._on_done is not None:
            self._on_done()
