"""Prompts that go on from what was kept answer like mlx-lm computing them whole.

One matrix over the kinds of cache: full attention, sliding windows, recurrent and hybrid state,
sinks, latent attention.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import alone, assert_same, core_at, greedy, run, tokens_of
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import CacheLimits, Generate, TokenRow

ARCHITECTURES = (
    "qwen3",
    "gemma3_text",
    "qwen3_5",
    "nemotron_h",
    "mamba2",
    "gpt_oss",
    "deepseek_v3",
)
CUTTABLE = ("qwen3", "deepseek_v3")  # any prefix will do; others want a checkpoint
PLENTY = 1 << 28
INTERVAL = 32  # tokens between checkpoints, the distances of these tests
END = 3  # closes a message
NUM_TOKENS = 10

TinyModel = Callable[..., Path]


def words(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(10, 1000) for _ in range(count)]


def warm_core(folder: Path, **options: Any) -> Any:
    return core_at(
        folder, **{"hot_bytes": PLENTY, "interval": INTERVAL, "least_shared": 32, **options}
    )


def ask(core: Any, prompt: list[int], num_tokens: int = NUM_TOKENS) -> list[TokenRow]:
    return run(core, [Generate(0, prompt, greedy(num_tokens))])[0]


def cached(rows: list[TokenRow]) -> int:
    return rows[0].cached_tokens


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_second_turn_computes_only_what_is_new(arch: str, tiny_model: TinyModel) -> None:
    folder = tiny_model(arch)
    core = warm_core(folder)
    conversation = words(1, 90)
    for turn in range(3):
        before, known = core.prompt_tokens, len(conversation)
        rows = ask(core, conversation)
        assert_same(tokens_of(rows), *alone(folder, conversation, NUM_TOKENS))
        if turn:
            # The last token of an answer was never fed back; the last of a prompt is decoded.
            assert cached(rows) == known - 9
            assert core.prompt_tokens - before == 8
        conversation = [*conversation, *tokens_of(rows), *words(turn, 8)]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_prompts_that_diverge_anywhere_go_on_from_what_they_share(
    arch: str, tiny_model: TinyModel
) -> None:
    folder = tiny_model(arch)
    core = warm_core(folder)
    first = words(2, 101)
    whole = alone(folder, first, 4)
    for shared in (15, 16, 17, 31, 32, 33, 63, 64, 65, 99):
        core.reuse.cache.clear()
        ask(core, first, 4)
        second = [*first[:shared], *words(3, 20)]
        rows = ask(core, second, 4)
        assert_same(tokens_of(rows), *alone(folder, second, 4))
        usable = shared if arch in CUTTABLE else min(shared - shared % INTERVAL, 64)
        assert cached(rows) == (usable if usable >= 16 else 0)
        again = ask(core, first, 4)
        assert cached(again) == 100
        assert_same(tokens_of(again), *whole)


@pytest.mark.parametrize("arch", ["gemma3_text", "qwen3_5"])
def test_the_ends_of_messages_are_kept_where_states_cannot_be_cut(
    arch: str, tiny_model: TinyModel
) -> None:
    folder = tiny_model(arch)
    core = warm_core(folder, interval=10_000)
    system = [*words(4, 70), END]
    sampling = greedy(4, stop_token_ids=(END,))
    run(core, [Generate(0, [*system, *words(5, 90)], sampling)])
    other = [*system, *words(6, 80)]
    rows = run(core, [Generate(0, other, sampling)])[0]
    assert cached(rows) == len(system)
    want, margins = alone(folder, other, 4)
    assert_same(tokens_of(rows), want[: len(tokens_of(rows))], margins)


@pytest.mark.parametrize("arch", ["gemma3_text", "qwen3_5"])
def test_a_template_that_opens_old_answers_otherwise_costs_the_opening_only(
    arch: str, tiny_model: TinyModel
) -> None:
    """As those do that put an empty thought before a new answer and drop it later."""
    folder = tiny_model(arch)
    core = warm_core(folder, interval=10_000)
    sampling = greedy(4, stop_token_ids=(END,))
    conversation, before = [*words(90, 520), END], 0
    for turn in range(4):
        prompt = [*conversation, 5, 6, 7, 8]
        rows = run(core, [Generate(0, prompt, sampling)])[0]
        want, margins = alone(folder, prompt, 4)
        assert_same(tokens_of(rows), want[: len(tokens_of(rows))], margins)
        if turn:
            assert cached(rows) == before
        before = len(conversation)
        conversation = [*conversation, 5, 6, *words(91 + turn, 6), END, *words(95 + turn, 9), END]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_requests_that_come_together_compute_their_common_prefix_once(
    arch: str, tiny_model: TinyModel
) -> None:
    folder = tiny_model(arch)
    core = warm_core(folder, step_tokens=64)
    shared = words(7, 130)
    prompts = [[*shared, *words(8 + i, 5 + 7 * i)] for i in range(5)]
    rows = run(core, [Generate(i, p, greedy(NUM_TOKENS)) for i, p in enumerate(prompts)])
    for i, prompt in enumerate(prompts):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, NUM_TOKENS))
    tails = sum(len(prompt) - 1 - len(shared) for prompt in prompts)
    assert core.prompt_tokens == len(shared) + tails


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "qwen3_5"])
def test_a_request_goes_on_from_one_that_still_runs(arch: str, tiny_model: TinyModel) -> None:
    folder = tiny_model(arch)
    core = warm_core(folder)
    prompt = words(9, 96)
    late = [*prompt, *words(10, 9)]

    def add_later(step: int, rows: dict[int, list[TokenRow]]) -> None:
        if step == 5:
            core.add(Generate(1, late, greedy(NUM_TOKENS)))

    rows = run(core, [Generate(0, prompt, greedy(30))], on_step=add_later)
    assert cached(rows[1]) == (96 if arch in CUTTABLE else 95)
    assert_same(tokens_of(rows[0]), *alone(folder, prompt, 30))
    assert_same(tokens_of(rows[1]), *alone(folder, late, NUM_TOKENS))


@pytest.mark.parametrize("due", range(4))
def test_a_request_may_come_right_when_the_one_that_it_extends_begins_to_run(
    due: int, tiny_model: TinyModel
) -> None:
    """The last token of that one's prompt is not computed then: one wrong key among 21 shows."""
    folder = tiny_model("qwen3")
    core = warm_core(folder, least_shared=16)
    prompt = words(9, 20)
    late = [*prompt, *words(10, 2)]

    def add_later(step: int, rows: dict[int, list[TokenRow]]) -> None:
        if step == due:
            core.add(Generate(1, late, greedy(NUM_TOKENS)))

    rows = run(core, [Generate(0, prompt, greedy(12))], on_step=add_later)
    assert cached(rows[1]) in (19, 20)
    assert_same(tokens_of(rows[1]), *alone(folder, late, NUM_TOKENS))


@pytest.mark.parametrize(
    ("arch", "length", "step"), [("qwen3", 2200, 0), ("qwen3", 90, 6), ("qwen3_5", 300, 3)]
)
def test_what_an_aborted_request_computed_serves_the_next(
    arch: str, length: int, step: int, tiny_model: TinyModel
) -> None:
    folder = tiny_model(arch)
    core = warm_core(folder, step_tokens=64)
    prompt = words(11, length)

    def abort(now: int, rows: dict[int, list[TokenRow]]) -> None:
        if now == step:
            core.abort(0)

    run(core, [Generate(0, prompt, greedy(500))], on_step=abort)
    rows = ask(core, prompt, 4)
    assert cached(rows) > 0
    assert_same(tokens_of(rows), *alone(folder, prompt, 4))


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "qwen3_5", "mamba2"])
def test_under_pressure_the_limit_holds_and_answers_stay_right(
    arch: str, tiny_model: TinyModel
) -> None:
    folder = tiny_model(arch)
    core = warm_core(folder)
    ask(core, words(12, 300))
    limit = core.reuse.cache.nbytes
    core.reuse.limit(CacheLimits(limit, 0))
    rng = random.Random(5)
    heads = [words(20 + i, 150) for i in range(4)]
    for i in range(12):
        prompt = [*rng.choice(heads)[: rng.choice((40, 100, 150))], *words(30 + i, 20)]
        rows = ask(core, prompt, 4)
        assert_same(tokens_of(rows), *alone(folder, prompt, 4))
        assert core.reuse.cache.nbytes <= limit
    stats = core.reuse.cache.stats()
    assert stats.evictions > 0
    assert stats.hits > 0
    core.reuse.limit(CacheLimits(0, 0))
    assert core.reuse.cache.nbytes == 0
    assert cached(ask(core, heads[0], 4)) == 0


def test_what_a_client_has_marked_stays_longer(tiny_model: TinyModel) -> None:
    core = warm_core(tiny_model("qwen3"))
    marked, *others = (words(50 + i, 200) for i in range(4))
    run(core, [Generate(0, marked, greedy(4), keep=True)])
    core.reuse.limit(CacheLimits(core.reuse.cache.nbytes * 5 // 2, 0))
    for prompt in others:
        ask(core, prompt, 4)
    assert core.reuse.cache.stats().evictions > 0
    assert cached(ask(core, marked, 4)) > 190
    assert cached(ask(core, others[0], 4)) < 16


def test_every_miss_has_a_reason(tiny_model: TinyModel) -> None:
    folder = tiny_model("qwen3_5")
    core = warm_core(folder)
    prompt = words(40, 100)
    ask(core, prompt[:10])
    ask(core, prompt)
    ask(core, [*prompt[:20], *words(41, 30)])  # before the first checkpoint
    core.reuse.limit(CacheLimits(1, 0))
    core.reuse.limit(CacheLimits(PLENTY, 0))
    ask(core, prompt)
    core.reuse.limit(CacheLimits(0, 0))
    ask(core, prompt)
    stats = core.reuse.cache.stats()
    assert stats.recomputed_tokens == 20
    assert stats.misses == {
        "too short": 1,
        "no common prefix": 1,
        "no checkpoint": 1,
        "evicted": 1,
        "off": 1,
    }


def test_what_is_known_but_not_restored_is_counted(tiny_model: TinyModel) -> None:
    core = warm_core(tiny_model("qwen3_5"))
    prompt = words(45, 100)
    ask(core, prompt, 1)
    rows = ask(core, [*prompt[:50], *words(46, 30)], 1)
    assert cached(rows) == INTERVAL
    stats = core.reuse.cache.stats()
    assert (stats.hits, stats.recomputed_tokens) == (1, 50 - INTERVAL)


def test_choices_of_one_long_request_share_its_prompt(tiny_model: TinyModel) -> None:
    folder = tiny_model("qwen3_5")
    core = warm_core(folder, step_tokens=64)
    prompt = words(50, 200)
    samplings = [greedy(NUM_TOKENS), *(Sampling(seed=i, max_tokens=NUM_TOKENS) for i in range(3))]
    rows = run(core, [Generate(i, prompt, s) for i, s in enumerate(samplings)])
    assert core.prompt_tokens == 199
    assert_same(tokens_of(rows[0]), *alone(folder, prompt, NUM_TOKENS))
    for i, sampling in enumerate(samplings):
        single = run(core_at(folder), [Generate(0, prompt, sampling)])[0]
        assert tokens_of(rows[i]) == tokens_of(single)


def test_rows_that_cannot_batch_take_up_prefixes_too(tiny_model: TinyModel) -> None:
    folder = tiny_model("gemma3_text")
    core = warm_core(folder)
    core._runner.batches = False  # as warm_up sets it
    shared = words(60, 130)
    prompts = [[*shared, *words(61 + i, 9)] for i in range(3)]
    rows = run(core, [Generate(i, p, greedy(6)) for i, p in enumerate(prompts)], join_every=2)
    for i, prompt in enumerate(prompts):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, 6))
    assert core.prompt_tokens == 130 + 3 * 8


def test_the_books_show_who_uses_the_cache(tiny_model: TinyModel) -> None:
    core = warm_core(tiny_model("qwen3"))
    prompt = words(70, 100)
    for _ in range(3):
        ask(core, prompt, 2)
    stats = core.reuse.cache.stats()
    assert stats.hits == 2
    assert stats.hit_tokens == {"hot": 198, "cold": 0}
    assert stats.asked_tokens == 300
    assert stats.hot_bytes == core.reuse.cache.nbytes > 0
    [prefix] = stats.prefixes
    assert (prefix.tokens, prefix.hits, prefix.preview[:3]) == (101, 2, prompt[:3])
