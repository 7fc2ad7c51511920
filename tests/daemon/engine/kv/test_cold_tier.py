"""Prompts that go on from what another engine left on disk answer as if computed whole."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import alone, assert_same, core_at, greedy, run, tokens_of
from fastmlx.daemon.engine.kv.cold import reader
from fastmlx.daemon.protocol.wire import CacheLimits, Generate, TokenRow

ARCHITECTURES = ("qwen3", "gemma3_text", "qwen3_5", "mamba2", "gpt_oss", "deepseek_v3")
CUTTABLE = ("qwen3", "deepseek_v3")
BLOCK = 128
PLENTY = 1 << 28
END = 3  # closes a message

TinyModel = Callable[..., Path]


def words(seed: int, count: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(10, 1000) for _ in range(count)]


def core_with(folder: Path, cold: Path) -> Any:
    return core_at(folder, hot_bytes=PLENTY, cold=cold, interval=64, least_shared=32)


def ask(core: Any, prompt: list[int], num_tokens: int = 4) -> list[TokenRow]:
    sampling = greedy(num_tokens, stop_token_ids=(END,))
    return run(core, [Generate(0, prompt, sampling)])[0]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_after_a_restart_a_conversation_goes_on_from_disk(
    arch: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    folder = tiny_model(arch)
    first = [*words(1, 300), END, *words(2, 5)]
    core = core_with(folder, tmp_path)
    ask(core, first)
    core.reuse.close(10.0)
    for shared in (len(first), BLOCK + 1, BLOCK, BLOCK - 1):
        core = core_with(folder, tmp_path)
        second = [*first[:shared], *words(3 + shared, 30)]
        rows = ask(core, second)
        want, margins = alone(folder, second, 4)
        assert_same(tokens_of(rows), want[: len(tokens_of(rows))], margins)
        if arch in CUTTABLE:
            expected = shared - shared % BLOCK
        else:  # the ends of messages and every 64th token
            expected = 305 if shared == len(first) else shared - shared % 64
        assert rows[0].cached_tokens == (expected if expected >= BLOCK else 0)
        assert core.reuse.cache.stats().hit_tokens == {"hot": 0, "cold": rows[0].cached_tokens}
        core.reuse.close(10.0)


@pytest.mark.parametrize("arch", ["qwen3", "qwen3_5"])
def test_what_is_evicted_comes_back_from_disk_while_others_decode(
    arch: str, tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model(arch)
    core = core_with(folder, tmp_path)
    prompt = words(10, 280)
    ask(core, prompt)
    core.reuse.limit(CacheLimits(1, PLENTY))
    assert core.reuse.cache.nbytes == 0
    core.reuse.limit(CacheLimits(PLENTY, PLENTY))
    other, late = words(11, 50), [*prompt, *words(12, 20)]
    assert core.reuse.cache.cold.store.flush(10.0)
    disk, read_file = threading.Event(), reader.read_file

    def slow(path: Path) -> bytearray:
        assert disk.wait(20)
        return read_file(path)

    monkeypatch.setattr(reader, "read_file", slow)

    def add_later(step: int, rows: dict[int, list[TokenRow]]) -> None:
        if step == 4:
            core.add(Generate(1, late, greedy(6)))
        if step == 40:
            assert len(rows[0]) > 30
            assert 1 not in rows
            disk.set()

    rows = run(core, [Generate(0, other, greedy(200))], on_step=add_later)
    assert_same(tokens_of(rows[0]), *alone(folder, other, 200))
    assert_same(tokens_of(rows[1]), *alone(folder, late, 6))
    assert rows[1][0].cached_tokens == (256 if arch in CUTTABLE else 279)
    core.reuse.close(10.0)


def test_a_request_that_is_aborted_while_it_is_read_leaves_nothing_behind(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    folder = tiny_model("qwen3")
    core = core_with(folder, tmp_path)
    prompt = words(20, 600)
    ask(core, prompt)
    core.reuse.close(10.0)
    core = core_with(folder, tmp_path)
    core.add(Generate(0, prompt, greedy(3)))
    core.step()
    core.abort(0)
    assert_same(tokens_of(ask(core, prompt)), *alone(folder, prompt, 4))
    core.reuse.close(10.0)


def test_files_that_are_torn_are_computed_again(tiny_model: TinyModel, tmp_path: Path) -> None:
    folder = tiny_model("qwen3_5")
    core = core_with(folder, tmp_path)
    prompt = words(30, 300)
    ask(core, prompt)
    core.reuse.close(10.0)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert files
    for file in files[::2]:
        file.write_bytes(file.read_bytes()[:-7])
    core = core_with(folder, tmp_path)
    assert_same(tokens_of(ask(core, prompt)), *alone(folder, prompt, 4))
    core.reuse.close(10.0)


def test_while_nothing_runs_what_is_only_in_memory_is_written(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    core = core_with(tiny_model("qwen3"), tmp_path)
    ask(core, words(40, 300))
    core.reuse.tend()
    assert core.reuse.cache.cold.store.flush(10.0)
    assert core.reuse.cache.stats().cold.written_blocks == 2
    core.reuse.tend()
    assert core.reuse.cache.cold.store.flush(10.0)
    assert core.reuse.cache.stats().cold.written_blocks == 2
    core.reuse.clear(hot=True, cold=True)
    assert core.reuse.cache.nbytes == 0
    core.reuse.close(10.0)


@pytest.mark.parametrize("arch", ["gemma3_text", "qwen3_5"])
def test_the_end_of_an_answer_is_found_on_disk_without_a_template(
    arch: str, tiny_model: TinyModel, tmp_path: Path
) -> None:
    folder = tiny_model(arch)
    core = core_with(folder, tmp_path)
    first = words(50, 300)
    conversation = [*first, *tokens_of(ask(core, first)), *words(51, 20)]
    core.reuse.close(10.0)
    core = core_with(folder, tmp_path)
    rows = ask(core, conversation)
    assert rows[0].cached_tokens == len(first) + 3  # the answer's last token was never fed back
    assert_same(tokens_of(rows), *alone(folder, conversation, 4))
    core.reuse.close(10.0)


def test_what_is_used_a_second_time_is_written_while_the_engine_is_busy(
    tiny_model: TinyModel, tmp_path: Path
) -> None:
    core = core_with(tiny_model("qwen3"), tmp_path)
    store = core.reuse.cache.cold.store
    system = words(40, 300)
    seen: list[int] = []

    def add_later(step: int, rows: dict[int, list[TokenRow]]) -> None:
        for number, due in enumerate((20, 60), start=1):
            if step == due:
                store.flush(10.0)
                seen.append(store.stats().written_blocks)
                core.add(Generate(number, [*system, *words(40 + number, 9)], greedy(4)))

    core.add(Generate(9, words(41, 20), greedy(80)))  # it is never idle meanwhile
    rows = run(core, [Generate(0, system, greedy(4))], on_step=add_later)
    assert [rows[i][0].cached_tokens for i in (1, 2)] == [300, 300]
    assert seen == [0, 300 // BLOCK]
    core.reuse.close(10.0)
