"""Prompts that are prefilled together answer as if alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from engines import alone, assert_same, core_at, greedy, run, tokens_of
from fastmlx.daemon.engine.kv.attention_layer import AttentionLayer
from fastmlx.daemon.engine.kv.packed import MAX_ROWS, PADDING, packs
from fastmlx.daemon.protocol.wire import Generate
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.integers(1, 512), max_size=60))
def test_every_prompt_is_in_one_pack_and_padding_is_bounded(lengths: list[int]) -> None:
    found = packs(lengths)
    assert sorted(index for pack in found for index in pack) == list(range(len(lengths)))
    for pack in found:
        assert len(pack) <= MAX_ROWS
        sizes = [lengths[index] for index in pack]
        assert max(sizes) <= max(2 * min(sizes), min(sizes) + PADDING)


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "gpt_oss", "deepseek_v3", "qwen3_moe"])
def test_packed_prompts_answer_as_each_alone(arch: str, tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model(arch)
    rng = random.Random(1)
    # In gemma3_text and gpt_oss the windows are 16 tokens: some of these are longer.
    asked = [[rng.randrange(10, 1000) for _ in range(rng.randrange(2, 24))] for _ in range(20)]
    core = core_at(folder)
    assert core._runner.pack_limit >= 15
    rows = run(core, [Generate(i, prompt, sampling=greedy(10)) for i, prompt in enumerate(asked)])
    for i, prompt in enumerate(asked):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, 10))


def test_rows_of_a_pack_join_the_batch_as_they_lie(
    tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model("qwen3")
    core = core_at(folder)
    copied: list[int] = []
    put, put_rows = AttentionLayer.put, AttentionLayer.put_rows

    def counting(self: AttentionLayer, number: int, row: int, source: Any, length: int) -> None:
        copied.append(1)
        put(self, number, row, source, length)

    def counting_rows(
        self: AttentionLayer, number: int, row: int, keys: mx.array, values: mx.array
    ) -> None:
        copied.append(keys.shape[0])
        put_rows(self, number, row, keys, values)

    monkeypatch.setattr(AttentionLayer, "put", counting)
    monkeypatch.setattr(AttentionLayer, "put_rows", counting_rows)
    layers = len(core._runner.new_cache())
    asked = [[5 + i, *range(20, 26 + i)] for i in range(9)]
    asked.insert(4, asked[2])  # follows the other, and is not of the pack
    rows = run(core, [Generate(i, prompt, sampling=greedy(6)) for i, prompt in enumerate(asked)])
    assert sorted(copied) == [1] * layers + [9] * layers
    for i, prompt in enumerate(asked):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt, 6))


def test_recurrent_models_are_not_packed(tiny_model: Callable[..., Path]) -> None:
    assert core_at(tiny_model("qwen3_5"))._runner.pack_limit == 0
    assert core_at(tiny_model("mamba2"))._runner.pack_limit == 0
