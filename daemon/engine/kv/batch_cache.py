"""The KV caches of the rows that decode together.

mlx-lm gives every architecture its own mixture of cache classes (full attention, rotating
windows, recurrent state …), each with `merge`, `extend`, `filter` and `extract` along the batch
axis (mlx_lm.models.cache). A single row keeps its plain caches: at batch 1 nothing of the batch
machinery costs anything.

    rows   1: layers = the row's own caches
    rows > 1: layers = merged caches, rows left-padded to the longest
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

LayerCaches = list[Any]  # one cache object of mlx-lm a layer


def can_merge(caches: LayerCaches) -> bool:
    """Whether every layer's cache class knows how to form a batch."""
    return all(_mergeable(cache) for cache in caches)


def _mergeable(cache: Any) -> bool:
    parts = getattr(cache, "caches", None)
    if parts is not None:  # CacheList
        return all(_mergeable(part) for part in parts)
    return hasattr(cache, "merge")


class BatchCache:
    """Layer caches of `rows` sequences; row order is the caller's."""

    def __init__(self) -> None:
        self.layers: LayerCaches = []
        self.rows = 0

    def join(self, row_caches: list[LayerCaches]) -> None:
        """Adds rows at the end. The given caches belong to the batch from now on."""
        if not row_caches:
            return
        if not self.rows and len(row_caches) == 1:
            self.layers = row_caches[0]
        elif self.rows <= 1:
            every = ([self.layers] if self.rows else []) + row_caches
            self.layers = _merge(every)
        else:
            added = _merge(row_caches)
            for layer, more in zip(self.layers, added, strict=True):
                layer.extend(more)
        self.rows += len(row_caches)

    def keep(self, rows: list[int]) -> None:
        """Keeps these rows, in this order, and drops the others."""
        if len(rows) == self.rows:
            return
        if not rows:
            self.layers = []
        elif len(rows) == 1:
            self.layers = [layer.extract(rows[0]) for layer in self.layers]
        else:
            index = mx.array(rows)
            for layer in self.layers:
                layer.filter(index)
        self.rows = len(rows)

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)


def _merge(rows: list[LayerCaches]) -> LayerCaches:
    return [type(layers[0]).merge(list(layers)) for layers in zip(*rows, strict=True)]


def arrays(caches: LayerCaches) -> list[mx.array]:
    """Every array in the caches: evaluate these to have the caches computed."""
    from mlx.utils import tree_flatten

    leaves = tree_flatten([cache.state for cache in caches])
    return [leaf for _, leaf in leaves if isinstance(leaf, mx.array)]
