"""Random numbers are functions of seed and position, and tokens fall where they say."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest
from fastmlx.daemon.engine.drawing import (
    draw,
    draw_one,
    in_nucleus,
    lines_of,
    streams_of,
    uniform,
    weights_of,
)
from fastmlx.daemon.engine.sampler import draws_for
from hypothesis import given, settings
from hypothesis import strategies as st


def test_uniform_numbers_are_uniform_and_a_function_of_seed_and_position() -> None:
    seeds, positions = np.repeat(range(200), 10).tolist(), list(range(10)) * 200
    numbers = uniform(streams_of(seeds, 5), positions)
    assert np.array_equal(numbers[7:9, :2], uniform(streams_of([0, 0], 2), [7, 8]))
    assert ((numbers >= 0) & (numbers < 1)).all()
    histogram = np.histogram(numbers, bins=20)[0]
    assert abs(histogram - 500).max() < 5 * math.sqrt(500)
    assert len(np.unique(numbers)) > 0.99 * numbers.size
    assert abs(np.corrcoef(numbers.T) - np.eye(5)).max() < 5 / math.sqrt(2000)
    assert 0 <= uniform(streams_of([2**63 + 5]), [0])[0, 0] < 1


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    length=st.integers(1, 900) | st.just(3000),
    spread=st.sampled_from([0.0, 1.0, 200.0]),
    scale=st.sampled_from([1e-6, 1.0, 1.7, 1e4]),
)
def test_weights_are_powers_of_two(seed: int, length: int, spread: float, scale: float) -> None:
    x = (np.random.default_rng(seed).normal(size=(2, length)) * spread).astype(np.float32)
    x[0, 0] = -math.inf if length > 1 else 0
    got = np.array(weights_of(mx.array(x), mx.full((2, 1), scale)))
    scaled = x * np.float32(scale)
    want = np.exp2(np.maximum(scaled - scaled.max(axis=-1, keepdims=True), -200))
    assert np.allclose(got, want, rtol=1e-6, atol=2**-126)
    assert (got.max(axis=-1) == 1).all()
    assert length == 1 or got[0, 0] == 0


@pytest.mark.parametrize("length", [1, 2, 50, 64, 300, 5003])
def test_a_number_finds_the_token_whose_share_it_falls_in(length: int) -> None:
    chance = np.random.default_rng(length)
    weights = chance.uniform(size=(2, length)).astype(np.float32)
    weights[chance.uniform(size=(2, length)) < 0.5] = 0
    weights[:, length // 2] = 1
    lines = lines_of(mx.array(weights))
    # The order is that of columns, then lines.
    width = lines.shape[2]
    order = sorted(range(length), key=lambda token: (token % width, token // width))
    up_to = np.cumsum(weights[:, order].astype(np.float64), axis=-1)
    numbers = np.concatenate([np.linspace(0, 0.999, 61), [0, 1 - 2**-22]]).astype(np.float32)
    drawn = draw(lines, mx.array(np.stack([numbers, numbers])))
    tokens = np.array(drawn.tokens)
    assert np.array_equal(np.array(drawn.weights), np.take_along_axis(weights, tokens, axis=-1))
    assert (np.array(drawn.weights) > 0).all()
    for row in range(2):
        target = numbers * up_to[row, -1]
        rank = [order.index(token) for token in tokens[row]]
        assert (up_to[row, rank] >= target * (1 - 1e-5)).all()
        assert (up_to[row, rank] - weights[row, tokens[row]] <= target * (1 + 1e-5) + 1e-6).all()


@pytest.mark.parametrize("length", [1, 50, 5003])
def test_one_token_is_drawn_in_proportion(length: int) -> None:
    weights = np.zeros((400, length), dtype=np.float32)
    weights[:, 0], weights[:, length // 2] = 1, 3
    numbers = uniform(streams_of(range(400)), [0] * 400)
    tokens = np.array(draw_one(mx.array(weights), mx.array(numbers)))
    assert set(tokens.tolist()) == {0, length // 2}
    assert length == 1 or abs((tokens == 0).mean() - 0.25) < 5 * math.sqrt(0.19 / 400)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.sampled_from([1, 40]),
    draws=st.sampled_from([1, 3, 7, 15]),
    share=st.floats(0.0, 1.0),
    distinct=st.booleans(),
)
def test_a_draw_is_in_the_nucleus_when_heavier_tokens_do_not_reach_its_mass(
    seed: int, rows: int, draws: int, share: float, distinct: bool
) -> None:
    """Asked of all draws at once, or by halving."""
    chance = np.random.default_rng(seed)
    weights = chance.uniform(size=(rows, 300)).astype(np.float32)
    if not distinct:
        weights = np.round(weights, 1)
    found = weights[:, chance.integers(300, size=draws)]
    heavier = (weights[:, None] * (weights[:, None] > found[:, :, None])).sum(axis=-1)
    mass = weights.sum(axis=-1, keepdims=True) * share
    got = np.array(in_nucleus(lines_of(mx.array(weights)), mx.array(found), mx.array(mass)))
    sure = abs(heavier - mass) > 1e-4 * (mass + 1)
    assert np.array_equal(got[sure], (heavier < mass)[sure])


def test_a_nucleus_is_as_good_as_never_missed() -> None:
    for top_p in (1 / 8, 0.3, 0.5, 0.9, 0.95, 0.99, 1 - 1e-7):
        draws = draws_for(top_p)
        assert draws & (draws + 1) == 0
        assert (1 - top_p) ** draws <= 2**-23
    assert draws_for(0.9) == 7
    assert draws_for(1 / 8) == 127
