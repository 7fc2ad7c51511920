"""Thresholds found by folding and partitioning are those that a full sort finds."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from fastmlx.daemon.engine.candidates import largest, weight_at_rank
from hypothesis import given, settings
from hypothesis import strategies as st

ROWS = 3


def weights(seed: int, length: int, *, distinct: int | None = None) -> np.ndarray:
    """Random weights as a softmax gives them; of few values, so that ties are everywhere, when
    `distinct` says so."""
    chance = np.random.default_rng(seed)
    x = chance.normal(size=(ROWS, length)) * chance.uniform(0.5, 6)
    if distinct is not None:
        x = np.round(x * distinct / 6) * 6 / distinct
    return np.exp(x - x.max(axis=-1, keepdims=True)).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 9000),
    count=st.integers(1, 1200),
    distinct=st.none() | st.integers(1, 20),
)
def test_the_largest_are_the_largest_however_they_lie(
    seed: int, length: int, count: int, distinct: int | None
) -> None:
    x = weights(seed, length, distinct=distinct)
    got = np.sort(np.array(largest(mx.array(x), count)), axis=-1)
    assert np.array_equal(got, np.sort(x, axis=-1)[:, -count:])


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 3000),
    share=st.floats(1e-30, 0.999),
    distinct=st.none() | st.integers(1, 20),
)
def test_the_threshold_is_the_weight_at_which_a_share_of_the_whole_is_reached(
    seed: int, length: int, share: float, distinct: int | None
) -> None:
    x = weights(seed, length, distinct=distinct)
    ranks = np.full((ROWS, 1), length)
    whole = x.sum(axis=-1, keepdims=True)
    columns = mx.array(ranks), mx.full((ROWS, 1), share), mx.array(whole)
    threshold = np.array(weight_at_rank(mx.array(x), *columns))
    for row in range(ROWS):
        kept = x[row][x[row] >= threshold[row]].astype(np.float64)
        assert kept.sum() >= share * whole[row] * (1 - 1e-5)
        assert kept[kept > threshold[row]].sum() <= share * whole[row] * (1 + 1e-5)


def test_a_mass_that_is_never_reached_keeps_every_candidate() -> None:
    x = weights(7, 1024)
    every = mx.full((ROWS, 1), 1024)
    more_than_all = mx.array(x.sum(axis=-1, keepdims=True) * 2)
    threshold = weight_at_rank(mx.array(x), every, mx.ones((ROWS, 1)), more_than_all)
    assert np.array_equal(np.array(threshold)[:, 0], x.min(axis=-1))


@pytest.mark.parametrize("share", [0.3, 0.9, np.inf])
def test_top_p_counts_the_mass_of_what_top_k_keeps(share: float) -> None:
    x = weights(5, 300)
    ranks = [1, 7, 250]
    columns = mx.array(ranks)[:, None], mx.full((ROWS, 1), share)
    threshold = np.array(weight_at_rank(mx.array(x), *columns))
    for row, rank in enumerate(ranks):
        kept = np.sort(x[row])[::-1][:rank]
        inside = kept[np.cumsum(kept) - kept < share * kept.sum() * (1 - 1e-6)]
        assert threshold[row, 0] == inside[-1]
