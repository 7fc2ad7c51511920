"""Log probabilities under the raw distribution, of output tokens and of a prompt's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import mlx.core as mx

from ..protocol.events import TokenLogprob
from .kv.ragged import LayerCaches, arrays
from .runners.text import TextRunner
from .sequence import Sequence

# Tokens of a prompt whose logits are in memory at a time: with 150,000 tokens in the vocabulary
# they are 150 MB wide in float32.
PIECE = 256


class Logprobs(NamedTuple):
    """Of n tokens, lazily."""

    chosen: mx.array  # float [n]
    top_ids: mx.array | None  # int [n, k], likeliest first
    top: mx.array | None  # float [n, k]

    @classmethod
    def of(cls, logits: mx.array, tokens: mx.array, count: int) -> Logprobs:
        """Of tokens int [n] under logits [n, vocabulary], and of the `count` likeliest."""
        wide = logits.astype(mx.float32)
        norm = mx.logsumexp(wide, axis=-1, keepdims=True)
        chosen = (mx.take_along_axis(wide, tokens[:, None], axis=-1) - norm)[:, 0]
        if not count:
            return cls(chosen, None, None)
        count = min(count, wide.shape[-1])
        ids = mx.argpartition(-wide, count - 1, axis=-1)[:, :count]
        top = mx.take_along_axis(wide, ids, axis=-1) - norm
        order = mx.argsort(-top, axis=-1)
        ids = mx.take_along_axis(ids, order, axis=-1)
        return cls(chosen, ids, mx.take_along_axis(top, order, axis=-1))

    def arrays(self) -> list[mx.array]:
        """What to evaluate."""
        return [part for part in self if part is not None]

    def lists(self, tokens: Iterable[int], counts: Iterable[int]) -> list[list[TokenLogprob]]:
        """[the chosen token, then as many of the likeliest as its count says] of each token."""
        chosen: list[float] = self.chosen.tolist()  # type: ignore[assignment]
        ids: list[list[int]] = self.top_ids.tolist() if self.top_ids is not None else []  # type: ignore[assignment]
        top: list[list[float]] = self.top.tolist() if self.top is not None else []  # type: ignore[assignment]
        return [
            [
                TokenLogprob(token, chosen[i]),
                *(map(TokenLogprob, ids[i][:count], top[i][:count]) if count else ()),
            ]
            for i, (token, count) in enumerate(zip(tokens, counts, strict=True))
        ]


def score(
    runner: TextRunner, caches: LayerCaches, sequence: Sequence, start: int, end: int
) -> None:
    """Computes tokens [start, end) of the prompt into its caches, and adds the log probabilities
    of tokens [start + 1, end + 1) to `sequence.prompt_logprobs`. Waits for each piece."""
    count = sequence.sampling.prompt_logprobs
    for first in range(start, end, PIECE):
        last = min(first + PIECE, end)
        logits = runner.logits(caches, sequence.slice(first, last), sequence.adapter)
        tokens = sequence.slice(first + 1, last + 1)
        found = Logprobs.of(logits, mx.array(tokens), count)
        mx.eval(found.arrays(), arrays(caches))
        sequence.prompt_logprobs += found.lists(tokens, [count] * len(tokens))
