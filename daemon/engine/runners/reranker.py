"""Runs a model over pairs of texts and its head over what that gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from ...protocol.wire import Score, Scored
from ..embedding.batches import Input
from ..embedding.loader import LoadedReranker
from .embedding import pad


class RerankerRunner:
    """One number a pair."""

    def __init__(self, loaded: LoadedReranker) -> None:
        self._body = loaded.body
        self._head = loaded.head

    def inputs(self, message: Any) -> list[Input] | None:
        """What the message asks to be computed; None when it asks for something else."""
        if not isinstance(message, Score):
            return None
        pairs = zip(message.inputs, message.seconds, strict=True)
        return [Input(tokens, second, message.labels) for tokens, second in pairs]

    def run(self, inputs: Sequence[Input]) -> mx.array:
        """Log-odds, float32 [inputs], lazily."""
        tokens, mask, lengths = pad(inputs)
        seconds = mx.array([each.second for each in inputs])
        hidden = self._body(tokens, mask, seconds)
        return self._head(hidden, lengths, [each.labels for each in inputs]).astype(mx.float32)

    def answer(self, message: Score, rows: mx.array) -> Scored:
        """`rows`: of `run`, for all inputs of the message."""
        scores: Any = rows.tolist()
        return Scored(message.id, scores)
