"""Spans and checkpoints ⇄ what the cold tier stores.

A block is the keys and values of its tokens: `k0`, `v0`, `k1` … of the sliceable caches. A
checkpoint is the states, flattened (`s.0.1` …), and the keys and values of the tokens between the
last whole block and its position.
"""

from __future__ import annotations

import json
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from .cold.arrays import to_arrays, to_mlx
from .cold.blob import Blob
from .payload import Checkpoint, Pair, Span


def block_blob(model: str, position: int, span: Span) -> Blob:
    """Of the tokens that end at `position`."""
    arrays = _pairs(span)
    tokens = next((array.shape[2] for array in arrays.values()), 0)
    return Blob("block", model, position, tokens, to_arrays(arrays), _layout(span))


def checkpoint_blob(model: str, position: int, checkpoint: Checkpoint, rest: Span | None) -> Blob:
    """Of the state after `position` tokens; `rest` are those after the last whole block."""
    arrays = _pairs(rest) if rest is not None else {}
    scalars: dict[str, Any] = {}
    flat: Any = tree_flatten(list(checkpoint.states))
    for name, value in flat:
        if isinstance(value, mx.array):
            arrays[f"s.{name}"] = value
        else:
            scalars[name] = value
    meta = {"scalars": json.dumps(scalars), **(_layout(rest) if rest is not None else {})}
    return Blob("checkpoint", model, position, position, to_arrays(arrays), meta)


def span_from(blob: Blob) -> Span | None:
    """The span of a block or in a checkpoint; None where there is none."""
    if "layers" not in blob.meta:
        return None
    arrays = to_mlx({name: a for name, a in blob.arrays.items() if name[0] in "kv"})
    pairs: list[Pair | None] = [None] * int(blob.meta["layers"])
    for number in range(len(pairs)):
        if f"k{number}" in arrays:
            pairs[number] = (arrays[f"k{number}"], arrays[f"v{number}"])
    return Span(pairs)


def checkpoint_from(blob: Blob) -> Checkpoint:
    arrays = to_mlx({name[2:]: a for name, a in blob.arrays.items() if name.startswith("s.")})
    flat: dict[str, Any] = {**json.loads(blob.meta["scalars"]), **arrays}
    states: Any = tree_unflatten(list(flat.items())) if flat else []
    return Checkpoint(states)


def _pairs(span: Span) -> dict[str, mx.array]:
    arrays: dict[str, mx.array] = {}
    for number, pair in enumerate(span.pairs):
        if pair is not None:
            arrays[f"k{number}"], arrays[f"v{number}"] = pair
    return arrays


def _layout(span: Span) -> dict[str, str]:
    return {"layers": str(len(span.pairs))}
