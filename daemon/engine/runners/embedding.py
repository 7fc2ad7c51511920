"""Runs a model's body over texts of different lengths and pools what it gives."""

from __future__ import annotations

import mlx.core as mx

from ..embedding.loader import LoadedBody


class EmbeddingRunner:
    """Rows are padded on the right: a decoder's tokens do not see what follows them, an encoder is
    given the mask. So a text's vector does not depend on its neighbours."""

    def __init__(self, loaded: LoadedBody) -> None:
        self._body = loaded.body
        self._pooling = loaded.pooling

    def embed(self, texts: list[list[int]]) -> mx.array:
        """Token ids → float32 [texts, hidden], not normalised, lazily."""
        longest = max(map(len, texts))
        tokens = mx.array([text + [0] * (longest - len(text)) for text in texts])
        lengths = mx.array([len(text) for text in texts])
        mask = mx.arange(longest) < lengths[:, None]
        hidden = self._body(tokens, mask).astype(mx.float32)
        if self._pooling == "last":
            return hidden[mx.arange(len(texts)), lengths - 1]
        if self._pooling == "cls":
            return hidden[:, 0]
        if self._pooling == "mean":
            return mx.where(mask[..., None], hidden, 0.0).sum(axis=1) / lengths[:, None]
        return mx.where(mask[..., None], hidden, -mx.inf).max(axis=1)


def normalized(vectors: mx.array, dimensions: int | None) -> mx.array:
    """Unit vectors of the first `dimensions` numbers (all: None)."""
    vectors = vectors[:, :dimensions]
    return vectors / mx.maximum(mx.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
