"""Logits → tokens, for all rows in one graph, with each row's own parameters.

Greedy rows that ask for nothing cost one argmax. Random numbers are not drawn from a generator but
computed from (seed, position), so the same request yields the same tokens wherever its row lies,
whoever its neighbours are, and after a replay. One uniform number a row and step is enough:
the token is found where it falls in the cumulative distribution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import mlx.core as mx

from ..protocol.events import TokenLogprob
from ..protocol.sampling import Sampling
from .candidates import largest, weight_at_mass, weight_at_rank
from .logits import Allowed, LogitsProcessor
from .logprobs import Logprobs
from .sequence import Sequence

# Without top_k, top_p looks at this many of the likeliest tokens, or at all of a vocabulary up to
# twice as large: a nucleus wider than that is cut.
MAX_CANDIDATES = 1024

# Below this a temperature is greedy: dividing by it would overflow.
LEAST_TEMPERATURE = 1e-4

_MASK = (1 << 64) - 1


def stream(seed: int) -> int:
    """A seed's random numbers, to be given to `uniform`."""
    return _mix(seed & _MASK)


def uniform(numbers: int, position: int) -> float:
    """A number in [0, 1) with 24 random bits, a pure function of the stream and the position.

    Two rounds of splitmix64's finaliser (Steele et al. 2014, https://doi.org/10.1145/2660193.2660195).
    """
    return (_mix(numbers + position) >> 40) / (1 << 24)


def _mix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Sampled(NamedTuple):
    tokens: mx.array  # int [rows]
    logprobs: Logprobs | None = None  # of the rows that asked
    logprob_rows: Iterable[int] = ()

    def arrays(self) -> list[mx.array]:
        """What to evaluate."""
        return [self.tokens, *(self.logprobs.arrays() if self.logprobs is not None else ())]

    def logprob_lists(self, rows: list[Sequence]) -> dict[int, list[list[TokenLogprob]]]:
        """Row → [[the chosen token, then the likeliest]], for the rows that asked."""
        if self.logprobs is None:
            return {}
        tokens: list[int] = self.tokens.tolist()  # type: ignore[assignment]
        lists = self.logprobs.lists(
            [tokens[row] for row in self.logprob_rows],
            [rows[row].sampling.top_logprobs for row in self.logprob_rows],
        )
        return {row: [entry] for row, entry in zip(self.logprob_rows, lists, strict=True)}


class Sampler:
    """Samples for the rows of the decode batch; told when rows join and leave."""

    def __init__(
        self, vocab_size: int, first: Callable[[mx.array], mx.array] = lambda tokens: tokens
    ) -> None:
        """`first` gives the tokens of the rank that decides, where there are several."""
        self._first = first
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

    def sample(self, logits: mx.array, allowed: Allowed | None = None) -> Sampled:
        """Samples one token a row from logits [rows, vocabulary], of what is `allowed`.

        Reads each sequence's `num_sampled` as the position of its token. Everything stays lazy.
        """
        processed = self._processor.apply(logits, allowed)
        tokens = mx.argmax(processed, axis=-1).astype(mx.int32)
        tokens = self._random.replace(tokens, processed, self._rows).astype(mx.int32)
        tokens = self._first(tokens)
        self._processor.took(tokens)
        asked = self._logprob_rows
        if not asked:
            return Sampled(tokens)
        index = mx.array(asked)
        count = max(self._rows[row].sampling.top_logprobs for row in asked)
        return Sampled(tokens, Logprobs.of(logits[index], tokens[index], count), asked)


class _RandomRows:
    """The rows with a temperature, in kinds that differ in what has to be looked at."""

    def __init__(self, sequences: list[Sequence]) -> None:
        by_kind: dict[type[_Kind], list[int]] = {}
        for row, sequence in enumerate(sequences):
            if sequence.sampling.temperature >= LEAST_TEMPERATURE:
                by_kind.setdefault(_kind_of(sequence.sampling), []).append(row)
        self._kinds = [
            kind(rows, [sequences[row].sampling for row in rows]) for kind, rows in by_kind.items()
        ]

    def replace(self, tokens: mx.array, logits: mx.array, sequences: list[Sequence]) -> mx.array:
        """tokens int [rows] with those of the random rows drawn from logits [rows, vocabulary]."""
        for kind in self._kinds:
            positions = [sequences[row].num_sampled for row in kind.rows]
            if len(kind.rows) == len(sequences):
                return kind.sample(logits, positions)
            tokens[kind.index] = kind.sample(logits[kind.index], positions).astype(tokens.dtype)
        return tokens


class _Kind:
    """Rows without top_k and top_p, and their parameters as columns."""

    def __init__(self, rows: list[int], params: list[Sampling]) -> None:
        self.rows = rows
        self.index = mx.array(rows)
        self._streams = [stream(p.seed) for p in params]
        # Powers of two: MLX's CPU backend computes them twice as fast as those of e.
        self._scale = _column([math.log2(math.e) / p.temperature for p in params])
        # Above 1 min_p must still leave the likeliest token.
        least = [min(max(p.min_p, 0.0), 1.0) for p in params]
        self._least = _column(least) if any(least) else None

    def sample(self, logits: mx.array, positions: list[int]) -> mx.array:
        """logits [these rows, vocabulary] → int [these rows]."""
        x = logits.astype(mx.float32) * self._scale
        weights = mx.power(2.0, x - mx.max(x, axis=-1, keepdims=True))  # 1 for the likeliest
        threshold = self._threshold(weights)
        if self._least is not None:
            least = self._least
            threshold = least if threshold is None else mx.maximum(threshold, least)
        if threshold is not None:
            weights = mx.where(weights >= threshold, weights, 0.0)
        u = _column(list(map(uniform, self._streams, positions)))
        cumulative = mx.cumsum(weights, axis=-1)
        # In vocabulary order, not by rank: near-ties that swap ranks from one batch to another
        # do not change what is sampled. The min keeps rounding from stepping past the last token.
        total = cumulative[:, -1:]
        target = mx.minimum(u * total, total * (1 - 2**-22))
        return mx.sum(cumulative <= target, axis=-1)

    def _threshold(self, weights: mx.array) -> mx.array | None:
        """The smallest weight [rows, 1] that top_k and top_p let pass, None when they pass all."""
        return None


class _TopP(_Kind):
    """Rows with top_p and no top_k."""

    def __init__(self, rows: list[int], params: list[Sampling]) -> None:
        super().__init__(rows, params)
        self._top_p = _column([p.top_p for p in params])

    def _threshold(self, weights: mx.array) -> mx.array:
        mass = self._top_p * mx.sum(weights, axis=-1, keepdims=True)
        if weights.shape[-1] > 2 * MAX_CANDIDATES:
            weights = largest(weights, MAX_CANDIDATES)
        return weight_at_mass(weights, mass)


class _TopK(_Kind):
    """Rows with top_k, and perhaps top_p of what that keeps."""

    def __init__(self, rows: list[int], params: list[Sampling]) -> None:
        super().__init__(rows, params)
        self._count = max(p.top_k for p in params)
        self._top_k = _column([float(p.top_k) for p in params])
        self._top_p = _column([p.top_p for p in params])

    def _threshold(self, weights: mx.array) -> mx.array:
        return weight_at_rank(largest(weights, self._count), self._top_k, self._top_p)


def _kind_of(sampling: Sampling) -> type[_Kind]:
    if sampling.top_k > 0:
        return _TopK
    return _TopP if sampling.top_p < 1 else _Kind


def _column(values: list[float]) -> mx.array:
    return mx.array(values, dtype=mx.float32)[:, None]
