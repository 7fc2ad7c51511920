"""Which adapter each row of the running forward uses.

The runner says it before each forward; the adapted layers ask while the model calls them. What
they need is made once for a step and kept as long as the rows stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import mlx.core as mx

NONE = 0  # the adapter of rows that use none


class Ranks(NamedTuple):
    """The low ranks of a layer's adapters side by side: adapter → [start, stop)."""

    spans: tuple[tuple[int, int, int], ...]  # (adapter, start, stop), in this order

    @property
    def total(self) -> int:
        return self.spans[-1][2]


class Shares(NamedTuple):
    """What of a layer's ranks the rows take."""

    weights: mx.array  # float32 [rows, ranks]: the scale of the row's adapter, elsewhere 0
    ranks: mx.array | None  # int [ranks]: those that matter; None: all


class Selection:
    """`scales[i]` is the scale of adapter i; adapter 0 is none."""

    def __init__(self, scales: Sequence[float]) -> None:
        self.scales = [0.0, *scales]
        self.rows: list[int] = [NONE]
        self.single: int | None = NONE  # the adapter of all rows; None: they differ
        self._shares: dict[Ranks, Shares | None] = {}
        self._per_row: dict[tuple[int, ...], tuple[mx.array, mx.array]] = {}

    @classmethod
    def always(cls, scale: float) -> Selection:
        """All rows of all forwards use the one adapter."""
        selection = cls([scale])
        selection.single = 1
        return selection

    def begin(self, rows: list[int]) -> None:
        """The next forward covers these rows: their adapters, in the order of its first axis."""
        if rows == self.rows:
            return
        self.rows = list(rows)
        self.single = rows[0] if len(set(rows)) == 1 else None
        self._shares.clear()
        self._per_row.clear()

    def shares(self, ranks: Ranks) -> Shares | None:
        """For rows that differ; None when no row's adapter has a part in the layer."""
        if ranks not in self._shares:
            self._shares[ranks] = self._make_shares(ranks)
        return self._shares[ranks]

    def _make_shares(self, ranks: Ranks) -> Shares | None:
        wanted = set(self.rows)
        owners: list[int] = []  # the adapter of each rank that matters
        chosen: list[int] = []
        for adapter, start, stop in ranks.spans:
            if adapter in wanted:
                owners += [adapter] * (stop - start)
                chosen += range(start, stop)
        if not chosen:
            return None
        # Picking ranks out copies them: worth it only where most are idle.
        few = 2 * len(chosen) <= ranks.total
        if not few:
            owners = [adapter for adapter, start, stop in ranks.spans for _ in range(start, stop)]
        scales = mx.array([self.scales[adapter] for adapter in owners])
        mine = mx.array(self.rows)[:, None] == mx.array(owners)
        return Shares(mx.where(mine, scales, 0.0), mx.array(chosen) if few else None)

    def places(self, adapters: tuple[int, ...]) -> tuple[mx.array, mx.array]:
        """Each row's place in a layer's list of adapters, int [rows], and its scale, float32
        [rows]: 0 where the list has no adapter of the row."""
        if adapters not in self._per_row:
            places = [adapters.index(row) if row in adapters else 0 for row in self.rows]
            scales = [self.scales[row] if row in adapters else 0.0 for row in self.rows]
            self._per_row[adapters] = mx.array(places), mx.array(scales)
        return self._per_row[adapters]
