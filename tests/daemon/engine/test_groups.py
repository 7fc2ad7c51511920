"""Which rows share a buffer: the bound on waste, and that no token falls out of a buffer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from engines import alone, assert_same, model_at
from fastmlx.daemon.engine.kv import ragged
from fastmlx.daemon.engine.kv.groups import SMALL, Group, choose, columns_for
from fastmlx.daemon.engine.runners.text import TextRunner
from hypothesis import given, settings
from hypothesis import strategies as st

WINDOWS: set[int | None] = {None, 16, 200}


def check(group: Group) -> None:
    longest, shortest = max(group.lengths), min(group.lengths)
    assert longest <= SMALL or 2 * shortest >= longest - SMALL, "the bound on waste"
    for window, span in group.spans.items():
        column = span.column(group.clock)
        assert 0 <= column <= span.capacity
        assert min(longest, window or longest) <= column, "a row's token has no column"
        first, end = group.visible(window)
        assert 0 <= first < end == column + 1


def step(group: Group) -> None:
    for window in group.spans:
        if group.needs_columns(window):
            first, kept = group.relay(window)
            assert first >= 0
            assert kept >= min(max(group.lengths), window or max(group.lengths))
    for window, span in group.spans.items():
        assert span.column(group.clock) < span.capacity, f"no column for the next token ({window})"
    group.advance()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.integers(0, 3000)),
            st.tuples(st.just("leave"), st.integers(0, 99)),
            st.tuples(st.just("steps"), st.integers(1, 300)),
        ),
        max_size=40,
    )
)
def test_whoever_joins_and_leaves_the_waste_is_bounded_and_every_token_has_a_column(
    events: list[tuple[str, int]],
) -> None:
    groups: list[Group] = []
    for kind, number in events:
        if kind == "join":
            group = choose(groups, number)
            if group is None:
                group = Group.for_length(number, WINDOWS)
                groups.append(group)
                if number % 2:
                    group.adopt(number, number + number % 100)
            assert group.fits(number)
            if group.full():
                moves = group.widen(number)
                assert all(
                    before + kept <= group.spans[w].capacity for w, (before, kept) in moves.items()
                )
            group.lengths.append(number)
            longest, shortest = max(group.lengths), min(group.lengths)
            assert longest <= SMALL or 2 * shortest >= longest
        elif kind == "leave" and groups:
            group = groups[number % len(groups)]
            group.lengths.pop(number % group.rows)
            groups = [group for group in groups if group.rows]
        elif kind == "steps":
            for _ in range(number):
                for group in groups:
                    step(group)
        for group in groups:
            check(group)


def test_a_row_that_is_longer_than_the_buffers_of_another_joins_it_in_new_ones() -> None:
    group = Group.for_length(1000, WINDOWS)
    group.adopt(1000, 1100)
    group.lengths.append(1000)
    assert choose([group], 1800) is group
    assert choose([group], 2100) is None
    before, kept = group.widen(1800)[None]
    assert kept == 1000
    assert before + kept >= 1800
    assert group.row_capacity == 2


def test_rows_of_similar_length_share_a_group_and_others_do_not() -> None:
    long = Group.for_length(4000, WINDOWS)
    long.lengths.append(4000)
    assert choose([long], 64) is None
    assert choose([long], 2500) is long
    assert choose([long], 4900) is long
    assert choose([long], 9000) is None


def test_short_rows_all_share_one() -> None:
    short = Group.for_length(0, WINDOWS)
    short.lengths.append(0)
    assert choose([short], SMALL) is short
    assert choose([short], SMALL + 1) is None


def test_no_mask_is_needed_where_rows_are_equally_long_or_beyond_the_window() -> None:
    group = Group.for_length(100, WINDOWS)
    group.lengths += [100, 100]
    assert not group.padded(None)
    group.lengths.append(60)
    assert group.padded(None)
    assert group.padded(200)
    assert not group.padded(16)


@given(st.lists(st.integers(1, 3000), max_size=12))
def test_what_buffers_will_take_is_known_before_they_are_made(lengths: list[int]) -> None:
    groups: list[Group] = []
    for length in sorted(lengths, reverse=True):
        group = choose(groups, length)
        if group is None:
            group = Group.for_length(length, {None})
            groups.append(group)
        if group.full():
            group.widen(length)
        group.lengths.append(length)
    columns = sum(group.row_capacity * group.spans[None].capacity for group in groups)
    assert columns <= columns_for(lengths)
    assert columns_for(lengths) >= sum(lengths)


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text"])
def test_who_comes_and_goes_leaves_the_others_where_they_are(
    arch: str, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is much: no buffer is copied, and the answers are those of each alone."""
    monkeypatch.setattr(ragged, "MOST_COPIED", 0)
    folder = tiny_model(arch)
    runner = TextRunner(model_at(folder))
    asked = [[(7 * i + j) % 900 + 10 for j in range(90 + i)] for i in range(7)]
    names = [0, 1, 2, 3, 4, 5]

    def cached(name: int) -> tuple[list[Any], int]:
        caches = runner.new_cache()
        runner.prefill(caches, asked[name][:-1])
        return caches, len(asked[name]) - 1

    def lie_at() -> list[int]:
        assert runner._batch is not None
        mx.eval([layer.keys for layer in runner._batch._attention])
        (group,) = runner._batch.groups
        assert group.row_capacity == 8
        keys = [np.asarray(layer.keys[0]) for layer in runner._batch._attention]
        return [each.__array_interface__["data"][0] for each in keys]

    def decode() -> None:
        tokens = runner.decode(mx.array([asked[name][-1] for name in names])).argmax(-1)
        for name, token in zip(names, tokens.tolist(), strict=True):  # type: ignore[arg-type]
            asked[name].append(token)

    order = runner.join([cached(name) for name in names])
    names = [names[i] for i in order]
    decode()
    places = lie_at()
    for gone, comes in ((0, 6), (3, None), (1, None)):
        if comes is not None:
            names = [[*names, comes][i] for i in runner.join([cached(comes)])]
        decode()
        names = [names[i] for i in runner.leave([names.index(gone)])]
        decode()
        assert lie_at() == places
    for name in range(7):
        prompt = asked[name][: 90 + name]
        got = asked[name][90 + name :]
        assert_same(got, *alone(folder, prompt, len(got)))
