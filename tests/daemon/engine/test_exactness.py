"""Greedy output in a changing batch equals mlx-lm's own for that prompt alone, token for token.

One matrix over the kinds of cache: full attention, sliding windows, recurrent and hybrid state,
sinks, latent attention, experts.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from engines import alone, assert_same, core_at, greedy, run, tokens_of
from fastmlx.daemon.engine.kv.groups import GROWTH
from fastmlx.daemon.engine.kv.ragged import LEAST_ADOPTED
from fastmlx.daemon.protocol.wire import Generate, TokenRow

ARCHITECTURES = (
    "llama",
    "qwen3",
    "gemma3_text",
    "qwen3_5",
    "nemotron_h",
    "mamba2",
    "gpt_oss",
    "deepseek_v3",
    "qwen3_moe",
)
LENGTHS = (1, 2, 3, 9, 15, 16, 17, 31, 40, 70, 127, 130, 260, 300)
NUM_TOKENS = 24


def prompts(seed: int, count: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(10, 1000) for _ in range(rng.choice(LENGTHS))] for _ in range(count)]


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("join_every", [0, 3])
def test_a_changing_batch_answers_as_each_prompt_alone(
    arch: str, join_every: int, tiny_model: Callable[..., Path]
) -> None:
    folder = tiny_model(arch)
    core = core_at(folder, max_concurrent=6, step_tokens=70)
    asked = prompts(seed=join_every, count=10)
    lengths = [NUM_TOKENS - 5 * (i % 4) for i in range(len(asked))]
    requests = [Generate(i, prompt, sampling=greedy(lengths[i])) for i, prompt in enumerate(asked)]
    rows = run(core, requests, join_every=join_every)
    assert not core.rejected
    for i, prompt in enumerate(asked):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, lengths[i]))
        assert [row.finish for row in rows[i]][-1] == "length"


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "deepseek_v3"])
def test_long_rows_that_bring_their_own_buffers_answer_as_each_alone(
    arch: str, tiny_model: Callable[..., Path]
) -> None:
    """Longer ones, shorter ones and ones of similar length join them, and they outgrow them."""
    folder = tiny_model(arch)
    rng = random.Random(3)
    lengths = [40, LEAST_ADOPTED + 90, 2 * LEAST_ADOPTED, LEAST_ADOPTED + 2, LEAST_ADOPTED + 200]
    asked = [[rng.randrange(10, 1000) for _ in range(length)] for length in lengths]
    core = core_at(folder, max_concurrent=6, step_tokens=300)
    count = GROWTH + NUM_TOKENS
    requests = [Generate(i, prompt, sampling=greedy(count)) for i, prompt in enumerate(asked)]
    rows = run(core, requests, join_every=9)
    for i, prompt in enumerate(asked):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, count))


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "qwen3_5", "deepseek_v3"])
def test_a_replay_goes_on_where_the_dead_engine_stopped(
    arch: str, tiny_model: Callable[..., Path]
) -> None:
    folder = tiny_model(arch)
    asked = prompts(seed=5, count=6)
    answers = [alone(folder, prompt, NUM_TOKENS) for prompt in asked]
    cuts = [0, 1, 7, 12, 22, 23]
    requests = [
        Generate(i, prompt, sampling=greedy(NUM_TOKENS), output=answers[i][0][: cuts[i]])
        for i, prompt in enumerate(asked)
    ]
    rows = run(core_at(folder), requests)
    for i, cut in enumerate(cuts):
        want, margins = answers[i]
        assert_same(tokens_of(rows[i]), want[cut:], margins[cut:])


def test_logits_in_a_padded_batch_differ_by_rounding_only(
    tiny_model: Callable[..., Path],
) -> None:
    """Log probabilities are compared as numbers: a wrong mask would show long before a token."""
    folder = tiny_model("gemma3_text")
    asked = prompts(seed=9, count=7)
    sampling = greedy(NUM_TOKENS, top_logprobs=3)
    together = run(
        core_at(folder), [Generate(i, p, sampling=sampling) for i, p in enumerate(asked)]
    )
    for i, prompt in enumerate(asked):
        single = run(core_at(folder), [Generate(0, prompt, sampling=sampling)])[0]
        for ours, theirs in zip(together[i], single, strict=True):
            assert ours.tokens == theirs.tokens
            assert ours.logprobs is not None
            assert theirs.logprobs is not None
            for a, b in zip(ours.logprobs[0], theirs.logprobs[0], strict=True):
                assert a.logprob == pytest.approx(b.logprob, abs=2e-4)


def test_where_caches_cannot_batch_rows_run_one_at_a_time_and_stay_exact(
    tiny_model: Callable[..., Path],
) -> None:
    folder = tiny_model("qwen3")
    core = core_at(folder)
    core._runner.batches = False  # as warm_up sets it
    asked = prompts(seed=3, count=5)
    requests = [Generate(i, p, sampling=greedy(8 + i)) for i, p in enumerate(asked)]
    rows = run(core, requests, join_every=2)
    for i, prompt in enumerate(asked):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, 8 + i))


def test_two_hundred_and_fifty_six_rows_answer_as_each_alone(
    tiny_model: Callable[..., Path],
) -> None:
    folder = tiny_model("qwen3")
    core = core_at(folder, max_concurrent=256)
    rng = random.Random(11)
    asked = [[rng.randrange(10, 1000) for _ in range(1 + i % 10)] for i in range(256)]
    most = 0

    def count(step: int, rows: dict[int, list[TokenRow]]) -> None:
        nonlocal most
        most = max(most, len(core.scheduler.running))

    requests = [Generate(i, prompt, sampling=greedy(20)) for i, prompt in enumerate(asked)]
    rows = run(core, requests, on_step=count)
    assert most == 256
    assert all(len(tokens_of(rows[i])) == 20 for i in range(256))
    for i in range(0, 256, 16):
        assert_same(tokens_of(rows[i]), *alone(folder, asked[i], 20))
