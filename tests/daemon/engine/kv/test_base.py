"""Rows that share a long prefix while they run: exact, held once, and let go of."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import alone, assert_same, core_at, greedy, run, tokens_of
from fastmlx.daemon.engine.kv.bases import LEAST_BASE, MOST_SPANS
from fastmlx.daemon.engine.kv.payload import sliceable
from fastmlx.daemon.engine.kv.ragged import leaves
from fastmlx.daemon.protocol.wire import Generate, TokenRow

SHARED = LEAST_BASE + 40


def words(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(10, 1000) for _ in range(count)]


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "qwen3_5", "gpt_oss", "deepseek_v3"])
def test_rows_over_a_base_answer_as_if_alone_while_others_come_and_go(
    arch: str, tiny_model: Callable[..., Path]
) -> None:
    folder = tiny_model(arch)
    core = core_at(folder, hot_bytes=1 << 28)
    shared = words(1, SHARED)
    prompts = [[*shared, *words(2 + i, 7 + 30 * i)] for i in range(4)]
    late, stranger = [*shared, *words(8, 25)], words(9, 60)
    held: list[int] = []

    def on_step(step: int, rows: dict[int, list[TokenRow]]) -> None:
        if step == 6:
            core.add(Generate(8, late, greedy(6)))
            core.add(Generate(9, stranger, greedy(9)))
        if step == 9:
            core.abort(2)
        held.append(sum(node.users > 0 for node in core.reuse.cache.tree.nodes()))

    requests = [Generate(i, p, greedy(8 + 3 * i)) for i, p in enumerate(prompts)]
    rows = run(core, requests, on_step=on_step)
    for i in (0, 1, 3):
        assert_same(tokens_of(rows[i]), *alone(folder, prompts[i], 8 + 3 * i))
    assert_same(tokens_of(rows[8]), *alone(folder, late, 6))
    assert_same(tokens_of(rows[9]), *alone(folder, stranger, 9))
    assert rows[8][0].cached_tokens == SHARED
    assert max(held) > 0
    assert not any(node.users for node in core.reuse.cache.tree.nodes())


def full_bytes(core: Any) -> int:
    """Held for keys and values of full attention: by rows that run, by prompts, and in the tree."""
    batch, plain = core._runner._batch, [*core._runner._plain, *core.prefiller.caches.values()]
    rows = [] if batch is None else [x for x in batch._attention if x.window is None]
    rows += [leaf for caches in plain for leaf in leaves(caches) if sliceable(leaf)]
    spans = sum(node.span.nbytes for node in core.reuse.cache.tree.nodes())
    return spans + sum(leaf.nbytes for leaf in rows)


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "qwen3_5"])
def test_rows_with_one_prefix_hold_it_once(arch: str, tiny_model: Callable[..., Path]) -> None:
    """Windows and recurrent states are each row's own; what full attention sees is not."""
    core = core_at(tiny_model(arch), hot_bytes=1 << 28)
    shared = words(1, 1000)
    run(core, [Generate(0, shared, greedy(1))])
    one = full_bytes(core)
    core.reuse.cache.clear()
    most: list[int] = []

    def watch(step: int, rows: dict[int, list[TokenRow]]) -> None:
        most.append(full_bytes(core) if len(rows) == 8 else 0)

    prompts = [[*shared, *words(2 + i, 9)] for i in range(8)]
    rows = run(core, [Generate(i, p, greedy(6)) for i, p in enumerate(prompts)], on_step=watch)
    assert [rows[i][0].cached_tokens for i in range(8)] == [0] + [1000] * 7
    columns = 8 * 96  # what the group's buffers have for rows of so few tokens of their own
    assert one < max(most) < 1.05 * one + columns * one / 1000


def test_rows_that_find_one_prefix_in_memory_hold_it_once(tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model("qwen3")
    core = core_at(folder, hot_bytes=1 << 28)
    shared = words(1, 1000)
    run(core, [Generate(0, shared, greedy(1))])
    one: int = core.reuse.cache.nbytes
    most: list[int] = []

    def watch(step: int, rows: dict[int, list[TokenRow]]) -> None:
        most.append(core.kv_bytes + core.reuse.cache.nbytes if len(rows) == 4 else 0)

    prompts = [[*shared, *words(2 + i, 9)] for i in range(4)]
    rows = run(core, [Generate(i, p, greedy(6)) for i, p in enumerate(prompts)], on_step=watch)
    for i in (0, 3):
        assert_same(tokens_of(rows[i]), *alone(folder, prompts[i], 6))
    assert max(most) < 1.05 * one + 4 * 96 * one / 1000


@pytest.mark.parametrize("arch", ["qwen3", "qwen3_5"])
def test_choices_of_one_long_request_hold_its_prompt_once(
    arch: str, tiny_model: Callable[..., Path]
) -> None:
    folder = tiny_model(arch)
    core = core_at(folder, hot_bytes=1 << 28)
    prompt = words(1, 1000)
    run(core, [Generate(0, prompt, greedy(1))])
    one: int = core.reuse.cache.nbytes
    core.reuse.cache.clear()
    most: list[int] = []

    def watch(step: int, rows: dict[int, list[TokenRow]]) -> None:
        most.append(core.kv_bytes + core.reuse.cache.nbytes if len(rows) == 4 else 0)

    before = core.prompt_tokens
    rows = run(core, [Generate(i, prompt, greedy(6)) for i in range(4)], on_step=watch)
    want = alone(folder, prompt, 6)
    for i in range(4):
        assert_same(tokens_of(rows[i]), *want)
    assert core.prompt_tokens - before == len(prompt) - 1
    if arch == "qwen3":  # the other's states are each row's own
        columns = 4 * 96  # of the rows' own buffers
        assert max(most) < 1.05 * one + columns * one / 1000


def test_a_prefix_in_very_many_pieces_is_shared_as_far_as_pays(
    tiny_model: Callable[..., Path],
) -> None:
    folder = tiny_model("qwen3")
    core = core_at(folder, hot_bytes=1 << 28)
    piece = 24
    shared = words(1, piece * (MOST_SPANS + 8))
    for number in range(1, MOST_SPANS + 8):  # branches everywhere, so that nothing is joined
        run(core, [Generate(0, [*shared[: piece * number], 5, *words(number, 9)], greedy(1))])
    prompts = [[*shared, *words(90 + i, 7)] for i in range(3)]
    lengths: set[int] = set()

    def watch(step: int, rows: dict[int, list[TokenRow]]) -> None:
        ends = [node.end for node in core.reuse.cache.tree.nodes() if node.users]
        lengths.add(max(ends, default=0))

    rows = run(core, [Generate(i, p, greedy(4)) for i, p in enumerate(prompts)], on_step=watch)
    for i, prompt in enumerate(prompts):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, 4))
    assert max(lengths) == piece * MOST_SPANS


def test_attention_over_a_base_is_attention_to_all_of_it() -> None:
    import mlx.core as mx
    from fastmlx.daemon.engine.kv.base import attend

    mx.random.seed(0)
    rows, heads, kv_heads, dim = 3, 6, 2, 16
    scale = dim**-0.5

    def pair(*shape: int) -> Any:
        return mx.random.normal(shape), mx.random.normal(shape)

    queries = mx.random.normal((rows, heads, 1, dim))
    base = [pair(1, kv_heads, 33, dim), pair(1, kv_heads, 20, dim)]
    own = pair(rows, kv_heads, 9, dim)
    seen = mx.arange(9) >= mx.array([0, 4, 8])[:, None]
    base_seen = mx.arange(33) >= mx.array([5, 0, 30])[:, None]
    sinks = mx.random.normal((heads,))
    out = attend(
        queries,
        [(base[0], base_seen[:, None, None]), (base[1], None)],
        (own, seen[:, None, None]),
        scale=scale,
        sinks=sinks,
    )
    for row in range(rows):
        keys, values = (
            mx.concatenate([*(p[part] for p in base), own[part][row : row + 1]], axis=2)
            for part in (0, 1)
        )
        mask = mx.concatenate([base_seen[row], mx.ones((20,), dtype=mx.bool_), seen[row]])
        want = mx.fast.scaled_dot_product_attention(
            queries[row : row + 1],
            keys,
            values,
            scale=scale,
            mask=mask[None, None, None],
            sinks=sinks,
        )
        assert mx.allclose(out[row : row + 1], want, rtol=1e-4, atol=1e-5).item()


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "qwen3_5", "gpt_oss", "deepseek_v3"])
def test_a_row_that_runs_lets_go_of_its_copy_when_others_come_with_the_same_prefix(
    arch: str, tiny_model: Callable[..., Path]
) -> None:
    folder = tiny_model(arch)
    core = core_at(folder, hot_bytes=1 << 28)
    shared, stranger = words(1, SHARED), words(9, 60)
    prompts = [[*shared, *words(2 + i, 7 + 30 * i)] for i in range(4)]
    over: set[int] = set()

    def on_step(step: int, rows: dict[int, list[TokenRow]]) -> None:
        if step in (5, 8, 11):
            number = 1 + (5, 8, 11).index(step)
            core.add(Generate(number, prompts[number], greedy(10)))
        running = enumerate(core.scheduler.running)
        over.update(s.id for row, s in running if core._runner.base(row) is not None)

    first = [Generate(9, stranger, greedy(30)), Generate(0, prompts[0], greedy(30))]
    rows = run(core, first, on_step=on_step)
    assert_same(tokens_of(rows[0]), *alone(folder, prompts[0], 30))
    assert_same(tokens_of(rows[9]), *alone(folder, stranger, 30))
    for i in (1, 2, 3):
        assert_same(tokens_of(rows[i]), *alone(folder, prompts[i], 10))
    if arch in ("qwen3", "deepseek_v3"):
        assert over == {0, 1, 2, 3}
        assert [rows[i][0].cached_tokens for i in (1, 2, 3)] == [SHARED] * 3
    assert not any(node.users for node in core.reuse.cache.tree.nodes())


@pytest.mark.parametrize("known", [False, True])
def test_requests_that_come_one_after_the_other_hold_their_prefix_once(
    known: bool, tiny_model: Callable[..., Path]
) -> None:
    """Whether the first one computed it or found it in memory."""
    core = core_at(tiny_model("qwen3"), hot_bytes=1 << 28)
    shared = words(1, 2000)
    run(core, [Generate(0, shared, greedy(1))])
    one: int = core.reuse.cache.nbytes
    if not known:
        core.reuse.cache.clear()
    most: list[int] = []

    def watch(step: int, rows: dict[int, list[TokenRow]]) -> None:
        most.append(core.kv_bytes + core.reuse.cache.nbytes if len(rows) > 1 else 0)

    prompts = [[*shared, *words(2 + i, 9)] for i in range(8)]
    requests = [Generate(i, p, greedy(40)) for i, p in enumerate(prompts)]
    rows = run(core, requests, join_every=3, on_step=watch)
    assert all(rows[i][0].cached_tokens == 2000 for i in range(1, 8))
    # The rows' own buffers, with up to as many free places, and what is kept of those that left.
    columns = 2 * 8 * 128 + 8 * 9
    assert max(most) < 1.05 * one + columns * one / 2000


def test_rows_that_share_much_more_than_others_share_that_too(
    tiny_model: Callable[..., Path],
) -> None:
    folder = tiny_model("qwen3")
    core = core_at(folder, hot_bytes=1 << 28)
    system, project = words(1, SHARED), words(2, 700)
    prompts = [[*system, *words(3, 9)], [*system, *words(4, 9)]]
    prompts += [[*system, *project, *words(5 + i, 9)] for i in range(4)]
    seen: dict[int, int] = {}

    def on_step(step: int, rows: dict[int, list[TokenRow]]) -> None:
        for row, sequence in enumerate(core.scheduler.running):
            base = core._runner.base(row)
            seen[sequence.id] = 0 if base is None else base.length
        for base in core.reuse.cache.bases:  # held once, although their nodes were cut meanwhile
            held = {
                id(part) for node in core.reuse.cache.tree.nodes() for part in node.span.arrays()
            }
            assert {id(part) for layer in base.layers for pair in layer for part in pair} <= held

    requests = [Generate(i, p, greedy(40)) for i, p in enumerate(prompts)]
    rows = run(core, requests, join_every=4, on_step=on_step)
    for i, prompt in enumerate(prompts):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, 40))
    assert seen == {0: SHARED, 1: SHARED} | dict.fromkeys(range(2, 6), SHARED + 700)


def test_a_base_goes_on_from_the_pieces_when_a_shorter_one_cuts_it(
    tiny_model: Callable[..., Path],
) -> None:
    folder = tiny_model("qwen3")
    core = core_at(folder, hot_bytes=1 << 28)
    shared = words(1, 1400)
    prompts = [[*shared, *words(2 + i, 9)] for i in range(3)]
    prompts += [[*shared[:700], *words(7 + i, 9)] for i in range(2)]
    pieces: set[int] = set()

    def on_step(step: int, rows: dict[int, list[TokenRow]]) -> None:
        held = {id(p) for node in core.reuse.cache.tree.nodes() for p in node.span.arrays()}
        for base in core.reuse.cache.bases:
            pieces.add(len(base.layers[0]))
            assert {id(part) for layer in base.layers for pair in layer for part in pair} <= held

    requests = [Generate(i, p, greedy(40)) for i, p in enumerate(prompts)]
    rows = run(core, requests, join_every=4, on_step=on_step)
    for i, prompt in enumerate(prompts):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, 40))
    assert pieces == {1, 2}
