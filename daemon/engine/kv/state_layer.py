"""A recurrent layer's state for a whole ragged batch, as mlx-lm's models expect it."""

from __future__ import annotations

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache

from .forward import Forward


class StateLayer(ArraysCache):
    """Recurrent state of one layer: arrays [rows, …] in the order of the batch.

    The model replaces the arrays at every step, so nothing is gained by keeping places free. It is
    an ArraysCache because there are models that store their state in nothing else (mamba).
    """

    def __init__(self, forward: Forward, size: int) -> None:
        super().__init__(size)
        self.arrays: list[mx.array | None] = [None] * size
        self.lengths = None  # models ask: no row is right-padded
        self.left_padding = None
        self._forward = forward
        self._parts: list[list[mx.array]] = [[] for _ in range(size)]

    # ---- what models call

    def __getitem__(self, index: int) -> mx.array | None:
        array = self.arrays[index]
        if array is None or self._forward.all_active:
            return array
        start, stop = self._forward.active_rows
        return array[start:stop]

    def __setitem__(self, index: int, value: mx.array) -> None:
        if self._forward.all_active:
            self.arrays[index] = value
            return
        parts = self._parts[index]
        parts.append(value)
        if self._forward.last_active:
            self.arrays[index] = mx.concatenate(parts)
            parts.clear()

    def make_mask(self, N: int) -> None:
        return None

    def advance(self, N: int) -> None:
        """No row is padded: nothing to count."""

    # ---- what the batch calls

    def reorder(self, order: list[int], rows_before: int, joining: list[ArraysCache]) -> None:
        """Rows become `order`, indices into the `rows_before` and the joining ones after them."""
        for index, old in enumerate(self.arrays):
            new = [cache[index] for cache in joining]
            parts = [part for part in (old, *new) if part is not None]
            if not parts:
                continue
            blank = mx.zeros((1, *parts[0].shape[1:]), parts[0].dtype)
            rows = [part if part is not None else blank for part in new]
            if old is not None:
                rows.insert(0, old)
            elif rows_before:
                rows = [blank] * rows_before + rows
            rows = _same_history(rows)
            joined = mx.concatenate(rows) if len(rows) > 1 else rows[0]
            self.arrays[index] = joined[mx.array(order)] if order else None

    def replace(self, row: int, source: ArraysCache) -> None:
        """Puts a row's own state into its place."""
        for array, own in zip(self.arrays, source.cache, strict=True):
            if array is not None and own is not None:
                array[row : row + 1] = own

    def extract_row(self, row: int, empty: ArraysCache) -> None:
        """Fills the row's state into an empty cache of mlx-lm's."""
        empty.cache = [None if a is None else a[row : row + 1] for a in self.arrays]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays if array is not None)


def _same_history(parts: list[mx.array]) -> list[mx.array]:
    """States [rows, tokens, …] that hold up to so many last tokens: zeros go before shorter ones,
    as before the beginning of a prompt. The warm-up checks that the model means it so."""
    if any(part.ndim < 2 for part in parts):
        return parts
    longest = max(part.shape[1] for part in parts)
    missing = [longest - part.shape[1] for part in parts]
    return [
        mx.pad(part, [(0, 0), (count, 0)] + [(0, 0)] * (part.ndim - 2)) if count else part
        for part, count in zip(parts, missing, strict=True)
    ]
