"""The fixture models themselves: what they promise to the tests that stand on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny

PROMPT = list(range(20, 60))


def logits_of(folder: Path, tokens: list[int]) -> Any:
    import mlx.core as mx
    from mlx_lm.utils import load_model

    model, _ = load_model(folder)
    return model(mx.array([tokens]))[0].astype(mx.float32)


@pytest.mark.parametrize("arch", tiny.ARCHITECTURES)
def test_the_choice_of_a_token_is_clear_and_hangs_on_the_whole_prompt(
    arch: str, tiny_model: Callable[..., Path]
):
    import mlx.core as mx

    folder = tiny_model(arch)
    logits = logits_of(folder, PROMPT)
    best = mx.sort(logits, axis=-1)
    assert float(mx.std(logits)) > 0.5
    assert float(mx.median(best[:, -1] - best[:, -2])) > 0.05

    changed = [*PROMPT[:3], 99, *PROMPT[4:]]
    difference = float(mx.abs(logits_of(folder, changed)[-1] - logits[-1]).max())
    assert difference > 1e-2


@pytest.mark.parametrize("options", [{}, {"bits": 4}, {"shards": 3}, {"endless": True}])
def test_the_same_arguments_give_the_same_bytes(options: dict[str, int], tmp_path: Path):
    first = tiny.build("qwen3", tmp_path / "first", **options)  # pyright: ignore[reportArgumentType]
    second = tiny.build("qwen3", tmp_path / "second", **options)  # pyright: ignore[reportArgumentType]
    assert first.name == second.name
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes(), file.name


def test_a_model_is_built_once(tmp_path: Path):
    first = tiny.build("llama", tmp_path)
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert tiny.build("llama", tmp_path) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    assert tiny.build("llama", tmp_path, hidden_size=32) != first


def test_an_unknown_architecture_is_refused_with_the_choices(tmp_path: Path):
    with pytest.raises(ValueError, match="qwen3_5"):
        tiny.build("gpt2", tmp_path)


def test_an_endless_model_cannot_sample_its_end(tmp_path: Path):
    import json

    folder = tiny.build("qwen3", tmp_path, endless=True)
    config = json.loads((folder / "config.json").read_text())
    assert config["eos_token_id"] == config["vocab_size"]
