"""Logits → tokens, for all rows in one graph, with each row's own parameters.

Greedy rows that ask for nothing cost one argmax. Random numbers are not drawn from a generator but
computed from (seed, position), so the same request yields the same tokens wherever its row lies,
whoever its neighbours are, and after a replay. One uniform number a row and step is enough:
the token is found where it falls in the cumulative distribution.
"""

from __future__ import annotations

from typing import NamedTuple

import mlx.core as mx

from ..protocol.sampling import Sampling
from .logits import LogitsProcessor
from .sequence import Sequence

# Without top_k, top_p looks at this many of the likeliest tokens: a nucleus wider than that is cut.
# Finding the k largest is many times cheaper than sorting all.
MAX_CANDIDATES = 1024

# Below this a temperature is greedy: dividing by it would overflow.
LEAST_TEMPERATURE = 1e-4

_MASK = (1 << 64) - 1


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) with 24 random bits, a pure function of seed and position.

    Two rounds of splitmix64's finaliser (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195).
    """
    return (_mix(_mix(seed & _MASK) + position) >> 40) / (1 << 24)


def _mix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Logprobs(NamedTuple):
    """Log probabilities under the raw distribution, for the rows that asked for them."""

    rows: list[int]
    chosen: mx.array  # float [len(rows)]
    top_ids: mx.array | None  # int [len(rows), k], likeliest first
    top: mx.array | None  # float [len(rows), k]


class Sampled(NamedTuple):
    tokens: mx.array  # int [rows]
    logprobs: Logprobs | None

    def arrays(self) -> list[mx.array]:
        """What to evaluate."""
        if self.logprobs is None:
            return [self.tokens]
        parts = (self.logprobs.chosen, self.logprobs.top_ids, self.logprobs.top)
        return [self.tokens, *(part for part in parts if part is not None)]


class Sampler:
    """Samples for the rows of the decode batch; told when rows join and leave."""

    def __init__(self, vocab_size: int) -> None:
        self._rows: list[Sequence] = []
        self._processor = LogitsProcessor(vocab_size)
        self._random = _RandomRows([])
        self._logprob_rows: list[int] = []

    def join(self, sequences: list[Sequence]) -> None:
        self._processor.join(sequences)
        self._set(self._rows + sequences)

    def keep(self, rows: list[int]) -> None:
        """Keeps these rows, in this order."""
        self._processor.keep(rows)
        self._set([self._rows[row] for row in rows])

    def _set(self, rows: list[Sequence]) -> None:
        self._rows = rows
        self._random = _RandomRows(rows)
        self._logprob_rows = [i for i, row in enumerate(rows) if row.sampling.top_logprobs >= 0]

    def sample(self, logits: mx.array) -> Sampled:
        """Samples one token a row from logits [rows, vocabulary].

        Reads each sequence's `num_sampled` as the position of its token. Everything stays lazy.
        """
        processed = self._processor.apply(logits)
        tokens = mx.argmax(processed, axis=-1)
        random = self._random
        if random.rows:
            chosen = random.sample(processed, [row.num_sampled for row in self._rows])
            if len(random.rows) == len(self._rows):
                tokens = chosen
            else:
                tokens[random.index] = chosen
        tokens = tokens.astype(mx.int32)
        self._processor.took(tokens)
        return Sampled(tokens, self._logprobs(logits, tokens) if self._logprob_rows else None)

    def _logprobs(self, logits: mx.array, tokens: mx.array) -> Logprobs:
        rows = self._logprob_rows
        index = mx.array(rows)
        wide = logits[index].astype(mx.float32)
        logprobs = wide - mx.logsumexp(wide, axis=-1, keepdims=True)
        chosen = mx.take_along_axis(logprobs, tokens[index][:, None], axis=-1)[:, 0]
        count = max(self._rows[row].sampling.top_logprobs for row in rows)
        if not count:
            return Logprobs(rows, chosen, None, None)
        count = min(count, wide.shape[-1])
        ids = mx.argpartition(-logprobs, count - 1, axis=-1)[:, :count]
        top = mx.take_along_axis(logprobs, ids, axis=-1)
        order = mx.argsort(-top, axis=-1)
        return Logprobs(
            rows,
            chosen,
            mx.take_along_axis(ids, order, axis=-1),
            mx.take_along_axis(top, order, axis=-1),
        )


class _RandomRows:
    """The rows with a temperature, and their parameters as columns."""

    def __init__(self, sequences: list[Sequence]) -> None:
        self.rows = [
            i for i, s in enumerate(sequences) if s.sampling.temperature >= LEAST_TEMPERATURE
        ]
        if not self.rows:
            return
        params = [sequences[row].sampling for row in self.rows]
        self.index = mx.array(self.rows)
        self._seeds = [p.seed for p in params]
        self._inverse_temperature = _column([1.0 / p.temperature for p in params])
        self._filters = any(p.top_k > 0 or p.top_p < 1 or p.min_p > 0 for p in params)
        if not self._filters:
            return
        self._candidates = max(_candidates(p) for p in params)
        self._top_k = _column([float(p.top_k) for p in params])
        self._top_p = _column([p.top_p for p in params])
        self._min_p = _column([max(p.min_p, 0.0) for p in params])

    def sample(self, logits: mx.array, positions: list[int]) -> mx.array:
        """logits [all rows, vocabulary] → int [rows with a temperature]."""
        if len(self.rows) < logits.shape[0]:
            logits = logits[self.index]
        x = logits.astype(mx.float32) * self._inverse_temperature
        p = mx.exp(x - mx.max(x, axis=-1, keepdims=True))
        if self._filters:
            p = mx.where(p >= self._threshold(p), p, 0.0)
        u = _column([uniform(s, positions[r]) for s, r in zip(self._seeds, self.rows, strict=True)])
        cumulative = mx.cumsum(p, axis=-1)
        # In vocabulary order, not by rank: near-ties that swap ranks from one batch to another
        # do not change what is sampled. The min keeps rounding from stepping past the last token.
        target = mx.minimum(u * cumulative[:, -1:], cumulative[:, -1:] * (1 - 2**-22))
        return mx.sum(cumulative <= target, axis=-1)

    def _threshold(self, p: mx.array) -> mx.array:
        """The smallest weight [rows, 1] that top_k, top_p (of what top_k keeps) and min_p let
        pass. `p` are probabilities up to a factor: the likeliest token has 1."""
        vocab = p.shape[-1]
        count = min(self._candidates, vocab)
        top = mx.partition(p, vocab - count, axis=-1)[:, vocab - count :] if count < vocab else p
        top = mx.sort(top, axis=-1)[:, ::-1]
        rank = mx.clip(self._top_k - 1, 0, count - 1).astype(mx.int32)
        by_k = mx.where(self._top_k > 0, mx.take_along_axis(top, rank, axis=-1), 0.0)
        weights = mx.where(top >= by_k, top, 0.0)
        total = mx.where(
            self._top_k > 0,
            mx.sum(weights, axis=-1, keepdims=True),
            mx.sum(p, axis=-1, keepdims=True),
        )
        before = mx.cumsum(weights, axis=-1) - weights  # mass of the likelier ones
        inside = before < self._top_p * total
        last = mx.maximum(mx.sum(inside, axis=-1, keepdims=True) - 1, 0)
        by_p = mx.where(self._top_p < 1, mx.take_along_axis(top, last, axis=-1), 0.0)
        # min_p of 1 or more must still leave the likeliest token.
        return mx.minimum(mx.maximum(mx.maximum(by_k, by_p), self._min_p), 1.0)


def _candidates(sampling: Sampling) -> int:
    """How many of the likeliest tokens the filters of a row must look at."""
    if sampling.top_k > 0:
        return sampling.top_k
    return MAX_CANDIDATES if sampling.top_p < 1 else 1


def _column(values: list[float]) -> mx.array:
    return mx.array(values, dtype=mx.float32)[:, None]
