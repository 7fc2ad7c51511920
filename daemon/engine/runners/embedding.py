"""Runs a model's body over texts of different lengths and pools what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx

from ...protocol.wire import Embed, Embedded
from ..embedding.batches import Input
from ..embedding.loader import LoadedBody


class Padded(NamedTuple):
    """Inputs of different lengths as one array, padded on the right: a decoder's tokens do not see
    what follows them, an encoder is given the mask. So the result for a text does not depend on its
    neighbours."""

    tokens: mx.array  # int [rows, n]
    mask: mx.array  # bool [rows, n]
    lengths: mx.array  # int [rows]


def pad(inputs: Sequence[Input]) -> Padded:
    """At least one input; none may be empty."""
    longest = max(len(each.tokens) for each in inputs)
    tokens = mx.array([each.tokens + [0] * (longest - len(each.tokens)) for each in inputs])
    lengths = mx.array([len(each.tokens) for each in inputs])
    return Padded(tokens, mx.arange(longest) < lengths[:, None], lengths)


class EmbeddingRunner:
    """One vector an input."""

    def __init__(self, loaded: LoadedBody) -> None:
        self._body = loaded.body
        self._pooling = loaded.pooling
        self._dense = loaded.dense

    def inputs(self, message: Any) -> list[Input] | None:
        """What the message asks to be computed; None when it asks for something else."""
        return [Input(tokens) for tokens in message.inputs] if isinstance(message, Embed) else None

    def run(self, inputs: Sequence[Input]) -> mx.array:
        """float32 [inputs, width of the vectors], not normalised, lazily."""
        tokens, mask, lengths = pad(inputs)
        vectors = self._pooled(tokens, mask, lengths)
        for layer in self._dense:
            vectors = layer(vectors)
        return vectors

    def _pooled(self, tokens: mx.array, mask: mx.array, lengths: mx.array) -> mx.array:
        """float32 [inputs, hidden]."""
        hidden = self._body(tokens, mask).astype(mx.float32)
        if self._pooling == "last":
            return hidden[mx.arange(hidden.shape[0]), lengths - 1]
        if self._pooling == "cls":
            return hidden[:, 0]
        if self._pooling == "mean":
            return mx.where(mask[..., None], hidden, 0.0).sum(axis=1) / lengths[:, None]
        return mx.where(mask[..., None], hidden, -mx.inf).max(axis=1)

    def answer(self, message: Embed, rows: mx.array) -> Embedded:
        """`rows`: of `run`, for all inputs of the message."""
        vectors: Any = normalized(rows, message.dimensions)  # it has the buffer protocol
        return Embedded(message.id, vectors.shape[1], bytes(memoryview(vectors)))


def normalized(vectors: mx.array, dimensions: int | None) -> mx.array:
    """Unit vectors of the first `dimensions` numbers (all: None)."""
    vectors = vectors[:, :dimensions]
    return vectors / mx.maximum(mx.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
