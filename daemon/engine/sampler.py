"""Logits → tokens, for all rows in one graph, with each row's own parameters.

Greedy rows that ask for nothing cost one argmax. What top_k keeps is found by its least weight.
What top_p keeps need not be found: of a few tokens drawn from the whole distribution the first that
is in the nucleus is a draw from the nucleus (rejection sampling), so only the drawn tokens are
asked whether they are in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import mlx.core as mx

from ..protocol.events import TokenLogprob
from ..protocol.sampling import Sampling
from .candidates import largest, weight_at_rank
from .drawing import draw, draw_one, in_nucleus, lines_of, streams_of, uniform, weights_of
from .logits import Allowed, LogitsProcessor
from .logprobs import Logprobs
from .sequence import Sequence

# Nuclei of at least this mass are drawn from without being found. Lesser ones would need many
# draws, but hold no larger share of the vocabulary than of its mass.
LEAST_DRAWN = 1 / 8

# None of the draws is in the nucleus as rarely as this; the likeliest of them is taken then.
_NEVER = 2**-23

_LEAST_SHARE = 1e-30

# Below this a temperature is greedy: dividing by it would overflow.
LEAST_TEMPERATURE = 1e-4


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
        self._vocab_size = vocab_size
        self._first = first
        self._rows: list[Sequence] = []
        self._processor = LogitsProcessor(vocab_size)
        self._random = _RandomRows([], vocab_size)
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
        self._random = _RandomRows(rows, self._vocab_size)
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

    def __init__(self, sequences: list[Sequence], vocab_size: int) -> None:
        by_kind: dict[type[_Kind], list[int]] = {}
        for row, sequence in enumerate(sequences):
            if sequence.sampling.temperature >= LEAST_TEMPERATURE:
                kind = _kind_of(sequence.sampling, vocab_size)
                by_kind.setdefault(kind, []).append(row)
        self._kinds = [
            kind(rows, [sequences[row].sampling for row in rows], vocab_size)
            for kind, rows in by_kind.items()
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

    draws = 1  # a row and step

    def __init__(self, rows: list[int], params: list[Sampling], vocab_size: int) -> None:
        self.rows = rows
        self.index = mx.array(rows)
        self._streams = streams_of((p.seed for p in params), self.draws)
        self._scale = _column([math.log2(math.e) / p.temperature for p in params])
        # Above 1 min_p must still leave the likeliest token.
        least = [min(max(p.min_p, 0.0), 1.0) for p in params]
        self._least = _column(least) if any(least) else None

    def sample(self, logits: mx.array, positions: list[int]) -> mx.array:
        """logits [these rows, vocabulary] → int [these rows]."""
        weights = weights_of(logits, self._scale)
        least = self._threshold(weights)
        if least is not None:
            weights = weights * (weights >= least)
        return draw_one(weights, self._numbers(positions))

    def _threshold(self, weights: mx.array) -> mx.array | None:
        """The smallest weight [rows, 1] that passes, None when all do."""
        return self._least

    def _numbers(self, positions: list[int]) -> mx.array:
        return mx.array(uniform(self._streams, positions))


class _Nucleus(_Kind):
    """Rows with top_p and no top_k."""

    def __init__(self, rows: list[int], params: list[Sampling], vocab_size: int) -> None:
        self.draws = draws_for(min(p.top_p for p in params))
        super().__init__(rows, params, vocab_size)
        self._top_p = _column([p.top_p for p in params])

    def sample(self, logits: mx.array, positions: list[int]) -> mx.array:
        lines = lines_of(weights_of(logits, self._scale))
        least = self._least
        passing = lines if least is None else lines * (lines >= least[:, :, None])
        drawn = draw(passing, self._numbers(positions))
        total = drawn.total if least is None else mx.sum(lines, axis=(1, 2))[:, None]
        inside = in_nucleus(lines, drawn.weights, self._top_p * total)
        first = mx.argmax(mx.where(inside, 2.0, drawn.weights), axis=-1, keepdims=True)
        return mx.take_along_axis(drawn.tokens, first, axis=-1)[:, 0]


class _TopK(_Kind):
    """Rows with top_k, and perhaps top_p of what that keeps."""

    def __init__(self, rows: list[int], params: list[Sampling], vocab_size: int) -> None:
        super().__init__(rows, params, vocab_size)
        ranks = [self._rank(p, vocab_size) for p in params]
        self._count = max(ranks)
        self._ranks = mx.array(ranks, dtype=mx.int32)[:, None]
        # Of 0 the likeliest token must be left.
        shares = [max(p.top_p, _LEAST_SHARE) if p.top_p < 1 else math.inf for p in params]
        self._shares = _column(shares)

    def _rank(self, sampling: Sampling, vocab_size: int) -> int:
        return min(sampling.top_k, vocab_size)

    def _threshold(self, weights: mx.array) -> mx.array:
        candidates = largest(weights, self._count)
        least = weight_at_rank(candidates, self._ranks, self._shares, self._whole(weights))
        return least if self._least is None else mx.maximum(least, self._least)

    def _whole(self, weights: mx.array) -> mx.array | None:
        """What top_p is a share of [rows, 1], None for that which top_k keeps."""
        return None


class _SmallNucleus(_TopK):
    """Rows with a small top_p and no top_k."""

    def _rank(self, sampling: Sampling, vocab_size: int) -> int:
        # The likeliest tokens weigh more than others: a share of the mass takes at most that share
        # of the tokens.
        return min(math.floor(max(sampling.top_p, 0.0) * vocab_size) + 1, vocab_size)

    def _whole(self, weights: mx.array) -> mx.array:
        return mx.sum(weights, axis=-1, keepdims=True)


def draws_for(top_p: float) -> int:
    """How many draws from the whole distribution miss a nucleus of this mass as rarely as never;
    a power of two less one."""
    enough = math.log(_NEVER) / math.log(1 - top_p)
    return (1 << math.ceil(enough).bit_length()) - 1


def _kind_of(sampling: Sampling, vocab_size: int) -> type[_Kind]:
    if 0 < sampling.top_k < vocab_size:
        return _TopK
    if sampling.top_p >= 1:
        return _Kind
    return _Nucleus if sampling.top_p >= LEAST_DRAWN else _SmallNucleus


def _column(values: list[float]) -> mx.array:
    return mx.array(values, dtype=mx.float32)[:, None]
