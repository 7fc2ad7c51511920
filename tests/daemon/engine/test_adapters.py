"""Rows with different LoRA adapters in one batch answer as mlx-lm does with each adapter alone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import answer, assert_same, greedy, model_at, run, tokens_of
from fastmlx.daemon.protocol.wire import Generate, NamedAdapter
from tiny_adapters import write_adapter

LENGTHS = (1, 2, 9, 17, 40, 70, 130, 300)
NUM_TOKENS = 12


def prompts(seed: int, count: int) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(10, 1000) for _ in range(rng.choice(LENGTHS))] for _ in range(count)]


def loaded(folder: Path, *adapters: Path, always: tuple[Path, ...] = ()) -> Any:
    from fastmlx.daemon.engine import loader

    named = [NamedAdapter(path.name, str(path)) for path in adapters]
    return loader.load(folder, tuple(map(str, always)), None, lambda stage: None, named)


def core_over(model: Any, *, max_concurrent: int = 8, step_tokens: int = 70) -> Any:
    from fastmlx.daemon.engine.core import EngineCore
    from fastmlx.daemon.engine.runners.text import TextRunner
    from fastmlx.daemon.engine.runners.warmup import warm_up

    runner = TextRunner(model.model, model.selection)
    warmed = warm_up(runner)
    return EngineCore(
        runner,
        vocab_size=warmed.vocab_size,
        max_concurrent=max_concurrent,
        step_tokens=step_tokens,
    )


def theirs(folder: Path, *adapters: Path) -> Any:
    """The model as mlx-lm itself loads it with the adapter."""
    from mlx_lm.utils import load_adapters

    model = model_at.__wrapped__(folder)
    for adapter in adapters:
        model = load_adapters(model, str(adapter))
    model.eval()
    return model


def check(core: Any, models: list[Any], asked: list[list[int]], *, join_every: int = 0) -> None:
    """Request i uses adapter i modulo their number, 0 being none."""
    requests = [
        Generate(i, prompt, sampling=greedy(NUM_TOKENS - i % 4), adapter=i % len(models))
        for i, prompt in enumerate(asked)
    ]
    rows = run(core, requests, join_every=join_every)
    assert not core.rejected
    different = {tuple(answer(model, asked[0], NUM_TOKENS)[0]) for model in models}
    assert len(different) == len(models), "the adapters change nothing"
    for i, prompt in enumerate(asked):
        want = answer(models[i % len(models)], prompt, NUM_TOKENS - i % 4)
        assert_same(tokens_of(rows[i]), *want)


@pytest.mark.parametrize(
    "arch",
    ["qwen3", "gemma3_text", "qwen3_5", "nemotron_h", "deepseek_v3", "qwen3_moe", "gpt_oss"],
)
def test_a_changing_batch_of_several_adapters_answers_as_each_alone(
    arch: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model(arch)
    one = write_adapter(folder, tmp_path / "one", seed=1, rank=4)
    two = write_adapter(folder, tmp_path / "two", seed=2, rank=6, scale=10.0, layers=2)
    models = [model_at(folder), theirs(folder, one), theirs(folder, two)]
    core = core_over(loaded(folder, one, two), max_concurrent=6)
    check(core, models, prompts(seed=1, count=9), join_every=2)


def test_quantised_weights_carry_adapters_too(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model("qwen3", bits=8)
    adapters = [write_adapter(folder, tmp_path / f"a{seed}", seed=seed) for seed in range(5)]
    models = [model_at(folder), *(theirs(folder, adapter) for adapter in adapters)]
    core = core_over(loaded(folder, *adapters))
    check(core, models, prompts(seed=2, count=6))
    # Two of five adapters in a batch: only their ranks are computed.
    asked = prompts(seed=3, count=4)
    requests = [
        Generate(i, prompt, sampling=greedy(8), adapter=(0, 2, 5)[i % 3])
        for i, prompt in enumerate(asked)
    ]
    rows = run(core, requests)
    for i, prompt in enumerate(asked):
        assert_same(tokens_of(rows[i]), *answer(models[(0, 2, 5)[i % 3]], prompt, 8))


@pytest.mark.parametrize("arch", ["qwen3", "qwen3_moe"])
def test_equal_prompts_with_different_adapters_share_no_prefill(
    arch: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model(arch)
    one = write_adapter(folder, tmp_path / "one")
    models = [model_at(folder), theirs(folder, one)]
    core = core_over(loaded(folder, one))
    prompt = prompts(seed=4, count=1)[0] + [7, 8, 9] * 10
    check(core, models, [prompt] * 6)
    assert core.prompt_tokens == 2 * (len(prompt) - 1)  # once with, once without it


def test_short_prompts_of_different_adapters_are_packed_into_one_prefill(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model("qwen3")
    one = write_adapter(folder, tmp_path / "one", seed=1)
    two = write_adapter(folder, tmp_path / "two", seed=2)
    models = [model_at(folder), theirs(folder, one), theirs(folder, two)]
    core = core_over(loaded(folder, one, two), step_tokens=512)
    packs: list[list[int]] = []
    plain = core._runner.prefill_packed

    def counted(caches: Any, prompts: Any, adapters: list[int]) -> Any:
        packs.append(adapters)
        return plain(caches, prompts, adapters)

    monkeypatch.setattr(core._runner, "prefill_packed", counted)
    check(core, models, [[i + 1] * (20 + i) for i in range(6)])
    assert sorted(number for pack in packs for number in pack) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("adapter", [0, 1, 2])
def test_a_long_prompt_beside_rows_of_other_adapters_is_computed_with_its_own(
    adapter: int, tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_model("qwen3")
    one = write_adapter(folder, tmp_path / "one", seed=1)
    two = write_adapter(folder, tmp_path / "two", seed=2)
    models = [model_at(folder), theirs(folder, one), theirs(folder, two)]
    core = core_over(loaded(folder, one, two))
    guests: list[int] = []
    plain = core._runner.decode_beside

    def counted(*arguments: Any) -> Any:
        guests.append(arguments[-1])
        return plain(*arguments)

    monkeypatch.setattr(core._runner, "decode_beside", counted)
    long = [(i * 31) % 900 + 10 for i in range(900)]
    short = [[5, 6, 7], [9, 8]]
    requests = [Generate(i, p, sampling=greedy(40), adapter=i) for i, p in enumerate(short)]
    requests.append(Generate(2, long, sampling=greedy(10), adapter=adapter))
    rows = run(core, requests, join_every=2)
    for i, prompt in enumerate(short):
        assert_same(tokens_of(rows[i]), *answer(models[i], prompt, 40))
    assert_same(tokens_of(rows[2]), *answer(models[adapter], long, 10))
    assert guests
    assert set(guests) == {adapter}


@pytest.mark.parametrize("switch", ["batches", "together"])
def test_where_rows_run_in_turns_each_turn_has_its_adapters(
    switch: str, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model("qwen3")
    one = write_adapter(folder, tmp_path / "one", seed=1)
    models = [model_at(folder), theirs(folder, one)]
    core = core_over(loaded(folder, one))
    setattr(core._runner, switch, False)  # as warm_up sets it
    core._runner.mixes = False
    asked = [[i + 3] * length for i, length in enumerate((3, 300, 40, 9, 280))]
    check(core, models, asked, join_every=2)


def test_adapters_that_are_always_applied_add_up_and_named_ones_come_on_top(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model("qwen3")
    # On different modules, so that mlx-lm can load one after the other.
    keys = [["self_attn.q_proj"], ["self_attn.v_proj"], ["mlp.up_proj"]]
    adapters = [
        write_adapter(folder, tmp_path / f"a{i}", seed=i, keys=keys[i], scale=30.0)
        for i in range(3)
    ]
    both = theirs(folder, *adapters[:2])
    models = [both, theirs(folder, *adapters)]
    core = core_over(loaded(folder, adapters[2], always=tuple(adapters[:2])))
    check(core, models, prompts(seed=6, count=4))


def test_an_adapter_of_peft_is_the_same_as_of_mlx_lm(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    import mlx.core as mx

    folder = tiny_model("llama")
    one = write_adapter(folder, tmp_path / "one", rank=4, scale=8.0)
    peft = tmp_path / "peft"
    peft.mkdir()
    weights: Any = mx.load(str(one / "adapters.safetensors"))
    renamed = {
        "base_model.model."
        + name.replace(".lora_a", ".lora_A.weight").replace(
            ".lora_b", ".lora_B.weight"
        ): mx.contiguous(array.T)
        for name, array in weights.items()
    }
    mx.save_safetensors(str(peft / "adapter_model.safetensors"), renamed)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 32, "bias": "none"}
    (peft / "adapter_config.json").write_text(json.dumps(config))
    models = [model_at(folder), theirs(folder, one)]
    asked = prompts(seed=7, count=4)
    check(core_over(loaded(folder, peft)), models, asked)
    check(core_over(loaded(folder, always=(peft,))), models[1:], asked)


def test_what_cannot_be_chosen_by_rows_is_refused_and_says_what_to_do(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    from fastmlx.daemon.engine.loader import LoadError

    folder = tiny_model("qwen3")
    dora = write_adapter(folder, tmp_path / "dora", kind="dora", keys=["self_attn.q_proj"])
    with pytest.raises(LoadError, match=r"adapter dora is a 'dora' fine-tune.*without a name"):
        loaded(folder, dora)
    assert loaded(folder, always=(dora,)).selection is None
    embedding = write_adapter(folder, tmp_path / "emb", keys=["model.embed_tokens"])
    with pytest.raises(LoadError, match=r"emb changes model.embed_tokens \(Embedding\), which"):
        loaded(folder, embedding)
    assert loaded(folder, always=(embedding,)).selection is None
    other = write_adapter(tiny_model("qwen3", hidden_size=32), tmp_path / "other")
    with pytest.raises(LoadError, match=r"adapter other was made for another model: .*down_proj"):
        loaded(folder, other)
    llama = write_adapter(tiny_model("deepseek_v3"), tmp_path / "deep")
    with pytest.raises(LoadError, match=r"adapter deep: the model has no module model\.layers"):
        loaded(folder, llama)
    with pytest.raises(LoadError, match=r"there is no file .*adapter_config\.json"):
        loaded(folder, tmp_path / "nothing")
    (other / "adapters.safetensors").write_bytes(b"torn")
    with pytest.raises(LoadError, match=r"adapter other: .* cannot be read"):
        loaded(folder, other)


def test_a_number_without_an_adapter_is_the_requests_own_fault(
    tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model("qwen3")
    core = core_over(loaded(folder, write_adapter(folder, tmp_path / "one")))
    core.add(Generate(1, [1, 2], sampling=greedy(3), adapter=2))
    assert core.rejected[0].message == "there is no adapter number 2"
    assert core.rejected[0].bad_request
