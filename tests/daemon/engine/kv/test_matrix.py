"""Every kind of cache, about every boundary, from every tier: a hit changes no answer.

The logits after a hit are those of mlx-lm computing the whole prompt afresh, and so are the tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import alone, assert_same, core_at, greedy, model_at, run, tokens_of
from fastmlx.daemon.engine import reuse
from fastmlx.daemon.protocol.wire import CacheLimits, Generate

ARCHITECTURES = (
    "qwen3",  # full attention
    "gemma3_text",  # sliding windows beside it
    "gpt_oss",  # sinks, too
    "llama4",  # chunks
    "deepseek_v3",  # latent attention
    "mamba2",  # recurrent states
    "qwen3_5",  # recurrent and full, gated delta nets
    "nemotron_h",  # the same with Mamba
)
CUTTABLE = ("qwen3", "deepseek_v3")  # any prefix will do; others want a checkpoint
BLOCK = 32  # tokens of a block on disk, and between checkpoints
EDGES = (BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1)
PLENTY = 1 << 28
NUM_TOKENS = 4
LOGIT = 1e-3  # by how much a logit may differ; the best leads by 0.05 and more


def words(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(10, 1000) for _ in range(count)]


def core_over(folder: Path, cold: Path | None) -> Any:
    return core_at(
        folder, hot_bytes=PLENTY, cold=cold, block=BLOCK, interval=BLOCK, least_shared=BLOCK
    )


def ask(core: Any, prompt: list[int]) -> tuple[list[int], int, Any]:
    """Its tokens, how many of the prompt's came from the cache, and the logits of the first."""
    seen: list[Any] = []
    decode = core._runner.decode

    def watched(tokens: Any) -> Any:
        seen.append(decode(tokens))
        return seen[-1]

    core._runner.decode = watched
    rows = run(core, [Generate(0, prompt, greedy(NUM_TOKENS))])[0]
    core._runner.decode = decode
    return tokens_of(rows), rows[0].cached_tokens, seen[0][0]


def assert_fresh(folder: Path, prompt: list[int], tokens: list[int], logits: Any) -> None:
    import mlx.core as mx

    want = model_at(folder)(mx.array([prompt]))[0, -1]
    assert float(mx.abs(logits - want).max()) < LOGIT
    assert_same(tokens, *alone(folder, prompt, NUM_TOKENS))


@pytest.mark.parametrize("tier", ["hot", "cold", "restart"])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_logits_after_a_hit_are_those_of_a_fresh_prefill(
    arch: str,
    tier: str,
    tiny_model: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reuse, "LEAST_FETCHED", BLOCK)
    folder = tiny_model(arch)
    core = core_over(folder, None if tier == "hot" else tmp_path)

    def leave_memory() -> Any:
        """What is known is on disk alone then: evicted, or left by an engine that ended."""
        if tier == "cold":
            core.reuse.limit(CacheLimits(1, PLENTY))
            core.reuse.limit(CacheLimits(PLENTY, PLENTY))
            assert core.reuse.cache.cold.store.flush(10.0)
        if tier == "restart":
            core.reuse.close(10.0)
            return core_over(folder, tmp_path)
        return core

    first = words(1, 2 * BLOCK + 20)
    tokens, cached, logits = ask(core, first)
    assert cached == 0
    assert_fresh(folder, first, tokens, logits)
    known = len(first) + NUM_TOKENS - 1  # an answer's last token is not fed back
    for shared in (*EDGES, known):
        core = leave_memory()
        second = [*[*first, *tokens][:shared], *words(shared, 9)]
        got, cached, logits = ask(core, second)
        assert_fresh(folder, second, got, logits)
        cut = arch in CUTTABLE
        whole = shared == known and not cut  # a checkpoint lies at the end of an answer
        exact = whole or (cut and tier == "hot")
        assert cached == (shared if exact else shared - shared % BLOCK), shared
    if tier != "hot":
        core.reuse.close(10.0)
