"""Log probabilities of a prompt's own tokens, for those who score texts."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import core_at, greedy, model_at, run, tokens_of
from fastmlx.daemon.engine import logprobs
from fastmlx.daemon.engine.sequence import Sequence
from fastmlx.daemon.protocol.events import TokenLogprob
from fastmlx.daemon.protocol.wire import Generate, TokenRow


def prompt(seed: int, length: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(10, 1000) for _ in range(length)]


def directly(folder: Path, tokens: list[int]) -> Any:
    """Log probabilities [tokens, vocabulary] of what follows, in one forward of mlx-lm's model."""
    import mlx.core as mx

    logits = model_at(folder)(mx.array([tokens]))[0].astype(mx.float32)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def assert_scored(folder: Path, tokens: list[int], row: TokenRow, top: int) -> None:
    import mlx.core as mx

    want = directly(folder, tokens)
    assert row.prompt_logprobs is not None
    assert len(row.prompt_logprobs) == len(tokens) - 1
    for i, (token, entries) in enumerate(zip(tokens[1:], row.prompt_logprobs, strict=True)):
        chosen, *likeliest = entries
        assert chosen.token_id == token
        assert chosen.logprob == pytest.approx(want[i, token].item(), abs=1e-4)
        best: Any = mx.sort(-want[i])[:top].tolist()
        assert [-each.logprob for each in likeliest] == pytest.approx(best, abs=1e-4)
        for each in likeliest:
            assert each.logprob == pytest.approx(want[i, each.token_id].item(), abs=1e-4)


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "qwen3_5", "deepseek_v3"])
def test_every_token_of_the_prompt_has_its_own(
    tiny_model: Callable[..., Path], arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "PIECE", 7)
    folder, tokens = tiny_model(arch), prompt(1, 61)
    core = core_at(folder, step_tokens=24)
    asked = Generate(1, tokens, greedy(4, prompt_logprobs=3, top_logprobs=0))
    beside = Generate(2, prompt(2, 9), greedy(30))
    rows = run(core, [beside, asked], join_every=3)
    assert_scored(folder, tokens, rows[1][0], top=3)
    assert [row.prompt_logprobs for row in rows[1][1:]] == [None] * 3
    assert all(row.prompt_logprobs is None for row in rows[2])
    assert tokens_of(rows[1]) == tokens_of(run(core_at(folder), [asked])[1])


def test_nothing_is_taken_from_the_cache_and_all_of_it_is_put_there(
    tiny_model: Callable[..., Path],
) -> None:
    folder, tokens = tiny_model("qwen3"), prompt(3, 200)
    core = core_at(folder, hot_bytes=1 << 28, least_shared=16)
    plain = Generate(1, tokens, greedy(2))
    run(core, [plain])
    scored = [Generate(i, tokens, greedy(2, prompt_logprobs=0)) for i in (2, 3)]
    rows = run(core, [*scored, Generate(4, tokens, greedy(2))])
    for i in (2, 3):
        assert rows[i][0].cached_tokens == 0
        assert_scored(folder, tokens, rows[i][0], top=0)
    assert rows[4][0].cached_tokens > 100
    assert rows[4][0].prompt_logprobs is None


def test_a_prompt_of_one_token_has_none(tiny_model: Callable[..., Path]) -> None:
    rows = run(core_at(tiny_model("qwen3")), [Generate(1, [5], greedy(2, prompt_logprobs=1))])
    assert rows[1][0].prompt_logprobs == []


def test_a_preempted_one_has_told_it_or_begins_anew(tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model("qwen3")
    core = core_at(folder, max_kv_tokens=120)
    requests = [Generate(i, prompt(i, 20), greedy(60, prompt_logprobs=1)) for i in range(3)]
    rows = run(core, requests)
    assert core.scheduler.preemptions
    for request in requests:
        first, *others = rows[request.id]
        assert_scored(folder, request.prompt, first, top=1)
        assert all(row.prompt_logprobs is None for row in others)

    half = Sequence.of(requests[0])
    half.prompt_logprobs = [[TokenLogprob(1, -1.0)]]
    half.num_sampled = 1  # on the device: its row will come, and bring them
    half.preempt()
    assert half.prompt_logprobs
    half.num_sampled = 0
    half.preempt()
    assert not half.prompt_logprobs


def test_a_replay_that_has_output_scores_nothing(tiny_model: Callable[..., Path]) -> None:
    replayed = Generate(1, prompt(5, 20), greedy(6, prompt_logprobs=1), output=[7, 8])
    rows = run(core_at(tiny_model("qwen3")), [replayed])
    assert not rows[1][0].prompt_logprobs
