"""Logits processors: logit_bias, penalties, min_tokens and grammars, per row in one graph.

Rows that ask for none of them are not touched, and when no row asks `apply` returns its argument.
The penalties' state lives on the device and grows by one scatter a step.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from .sequence import Sequence


class Allowed(NamedTuple):
    """What the grammars of some rows allow."""

    rows: list[int]
    words: np.ndarray[
        Any, np.dtype[np.uint32]
    ]  # [len(rows), at least vocabulary / 32], a bit a token


class LogitsProcessor:
    """Follows the rows of the decode batch: `join`, `keep`, then `apply` and `took` each step."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._rows: list[Sequence] = []
        self._penalties: _Penalties | None = None
        self._sparse = _SparseBias([])

    def join(self, sequences: list[Sequence]) -> None:
        start = len(self._rows)
        self._rows = self._rows + sequences
        penalised = [(start + i, s) for i, s in enumerate(sequences) if _has_penalty(s)]
        if penalised:
            more = _Penalties.of(penalised, self._vocab_size)
            self._penalties = more if self._penalties is None else self._penalties.plus(more)
        self._sparse = _SparseBias(self._rows)

    def keep(self, rows: list[int]) -> None:
        self._rows = [self._rows[row] for row in rows]
        if self._penalties is not None:
            self._penalties = self._penalties.keep(rows)
        self._sparse = _SparseBias(self._rows)

    def apply(self, logits: mx.array, allowed: Allowed | None = None) -> mx.array:
        """logits [rows, vocabulary] → the logits to sample from."""
        logits = self._sparse.apply(logits)
        if self._penalties is not None:
            logits = self._penalties.apply(logits)
        return logits if allowed is None else _only(allowed, logits)

    def took(self, tokens: mx.array) -> None:
        """These tokens, int [rows], were sampled."""
        if self._penalties is not None:
            self._penalties.took(tokens)


def _has_penalty(sequence: Sequence) -> bool:
    s = sequence.sampling
    return s.repetition_penalty != 1.0 or s.presence_penalty != 0.0 or s.frequency_penalty != 0.0


class _Penalties:
    """Repetition, presence and frequency penalties of some rows.

    As in vLLM: the repetition penalty divides (or multiplies, below zero) the logits of tokens in
    prompt and output, the other two subtract, once or per occurrence, for tokens in the output.
    """

    def __init__(
        self,
        rows: list[int],
        columns: mx.array,
        counts: mx.array,
        subtracted: mx.array,
        factors: mx.array,
    ) -> None:
        self.rows = rows
        self.index = mx.array(rows)
        self.columns = columns  # float [3, len(rows)]: 1 / repetition, presence, frequency
        self.counts = counts  # float [len(rows), vocabulary]: occurrences in the output
        self.subtracted = subtracted  # float [len(rows), vocabulary]: frequency * counts + presence
        self.factors = factors  # float [len(rows), vocabulary]: 1, or 1 / repetition where seen

    @classmethod
    def of(cls, members: list[tuple[int, Sequence]], vocab_size: int) -> _Penalties:
        shape = (len(members), vocab_size)
        counts = np.zeros(shape, dtype=np.float32)
        factors = np.ones(shape, dtype=np.float32)
        for i, (_, sequence) in enumerate(members):
            inverse = 1 / sequence.sampling.repetition_penalty
            np.add.at(counts[i], sequence.output, 1.0)
            factors[i, sequence.prompt] = inverse
            factors[i, sequence.output] = inverse
        params = [s.sampling for _, s in members]
        columns = np.array(
            [
                [1 / p.repetition_penalty for p in params],
                [p.presence_penalty for p in params],
                [p.frequency_penalty for p in params],
            ],
            dtype=np.float32,
        )
        subtracted = columns[2, :, None] * counts + columns[1, :, None] * (counts > 0)
        rows = [row for row, _ in members]
        return cls(
            rows,
            mx.array(columns),
            mx.array(counts),
            mx.array(subtracted),
            mx.array(factors),
        )

    def plus(self, other: _Penalties) -> _Penalties:
        return _Penalties(
            self.rows + other.rows,
            mx.concatenate([self.columns, other.columns], axis=1),
            mx.concatenate([self.counts, other.counts]),
            mx.concatenate([self.subtracted, other.subtracted]),
            mx.concatenate([self.factors, other.factors]),
        )

    def keep(self, rows: list[int]) -> _Penalties | None:
        place = {row: i for i, row in enumerate(self.rows)}
        kept = [(new, place[old]) for new, old in enumerate(rows) if old in place]
        if not kept:
            return None
        index = mx.array([i for _, i in kept])
        return _Penalties(
            [new for new, _ in kept],
            self.columns[:, index],
            self.counts[index],
            self.subtracted[index],
            self.factors[index],
        )

    def apply(self, logits: mx.array) -> mx.array:
        every = self.rows == list(range(logits.shape[0]))
        x = (logits if every else logits[self.index]).astype(mx.float32)
        # One of the two is 0. A `where` would make a CPU guess the sign of each logit.
        above, below = mx.maximum(x, 0.0), mx.minimum(x, 0.0)
        x = above * self.factors + below / self.factors - self.subtracted
        if every:
            return x
        result = logits.astype(mx.float32) if logits.dtype != mx.float32 else logits + 0
        result[self.index] = x
        return result

    def took(self, tokens: mx.array) -> None:
        """One more occurrence of each row's token."""
        at = mx.arange(len(self.rows)), tokens[self.index]
        inverse, presence, frequency = self.columns
        counts = self.counts[at] + 1
        self.counts[at] = counts
        self.subtracted[at] = frequency * counts + presence
        self.factors[at] = inverse


def _only(allowed: Allowed, logits: mx.array) -> mx.array:
    bits = mx.array(allowed.words)[:, :, None] >> mx.arange(32, dtype=mx.uint32)
    mask = (bits.reshape(len(allowed.rows), -1)[:, : logits.shape[1]] & 1) > 0
    if len(allowed.rows) == logits.shape[0]:
        return mx.where(mask, logits, -math.inf)
    index = mx.array(allowed.rows)
    result = logits + 0
    result[index] = mx.where(mask, logits[index], -math.inf)
    return result


class _SparseBias:
    """logit_bias, and stop tokens that min_tokens forbids, as (row, token, value) triples. Where a
    row has a grammar, that knows when the row may stop."""

    def __init__(self, rows: list[Sequence]) -> None:
        self._rows = [
            (i, row) for i, row in enumerate(rows) if row.sampling.logit_bias or _min_tokens(row)
        ]
        self._banned: list[bool] | None = None
        self._triples: tuple[mx.array, mx.array, mx.array] | None = None

    def apply(self, logits: mx.array) -> mx.array:
        if not self._rows:
            return logits
        banned = [row.num_sampled < _min_tokens(row) for _, row in self._rows]
        if banned != self._banned:
            self._banned = banned
            self._triples = self._build(banned, logits.shape[-1])
        if self._triples is None:
            return logits
        index, ids, values = self._triples
        return logits.at[index, ids].add(values.astype(logits.dtype))

    def _build(
        self, banned: list[bool], vocab_size: int
    ) -> tuple[mx.array, mx.array, mx.array] | None:
        triples: list[tuple[int, int, float]] = []
        for (i, row), ban in zip(self._rows, banned, strict=True):
            forbidden = row.stop_ids if ban else frozenset()
            bias = row.sampling.logit_bias.items()
            triples += [(i, token, value) for token, value in bias if token not in forbidden]
            triples += [(i, token, float("-inf")) for token in forbidden]
        triples = [triple for triple in triples if 0 <= triple[1] < vocab_size]
        if not triples:
            return None
        index, ids, values = zip(*triples, strict=True)
        return mx.array(index), mx.array(ids), mx.array(values, dtype=mx.float32)


def _min_tokens(row: Sequence) -> int:
    return row.sampling.min_tokens if row.stop_ids and row.grammar is None else 0
