"""EmbeddingGemma: Gemma 3 that sees in both directions, and Dense layers after the pooling."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from fastmlx.daemon.engine.embedding.batches import Input
from fastmlx.daemon.engine.embedding.gemma3 import full_layers, positions

LENGTHS = (1, 3, 9, 33, 40)  # some beyond the window of 8, some padded beyond it


def texts() -> list[list[int]]:
    rng = random.Random(3)
    return [[rng.randrange(3, 99) for _ in range(length)] for length in LENGTHS]


def runner_of(folder: Path) -> Any:
    from fastmlx.daemon.engine.embedding.loader import load_body
    from fastmlx.daemon.engine.runners.embedding import EmbeddingRunner

    return EmbeddingRunner(load_body(folder, None))


def vectors(runner: Any, asked: list[list[int]]) -> list[list[float]]:
    return runner.run([Input(tokens) for tokens in asked]).tolist()


def assert_close(got: Any, want: Any, error: float = 1e-4) -> None:
    assert len(got) == len(want)
    assert max(abs(a - b) for a, b in zip(got, want, strict=True)) < error


def gemma(folder: Path, **changes: Any) -> Any:
    """transformers' model with random weights, saved."""
    torch = pytest.importorskip("torch")
    import transformers

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "use_bidirectional_attention": True,
    }
    model = transformers.Gemma3TextModel(transformers.Gemma3TextConfig(**sizes | changes)).eval()
    for name, weight in model.named_parameters():
        if "layernorm" in name or "norm" in name:
            torch.nn.init.normal_(weight, std=0.2)
        else:
            torch.nn.init.normal_(weight, std=0.2 if weight.shape[0] < 100 else 1.0)
    model.save_pretrained(folder)
    return model


def means(model: Any, asked: list[list[int]]) -> list[Any]:
    """Mean hidden state of each text alone, as transformers computes it."""
    torch: Any = pytest.importorskip("torch")

    with torch.no_grad():
        return [model(torch.tensor([tokens])).last_hidden_state[0].mean(dim=0) for tokens in asked]


def add_dense(folder: Path) -> list[Any]:
    """Layers and files of sentence-transformers."""
    torch: Any = pytest.importorskip("torch")
    from safetensors.torch import save_file

    layers = [torch.nn.Linear(32, 48, bias=False), torch.nn.Linear(48, 24, bias=True)]
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    modules += [{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    for number, layer in enumerate(layers):
        path = f"{number + 2}_Dense"
        modules += [{"type": "sentence_transformers.models.Dense", "path": path}]
        (folder / path).mkdir()
        activation = "linear.Identity" if number == 0 else "activation.Tanh"
        config = {
            "in_features": layer.in_features,
            "out_features": layer.out_features,
            "bias": layer.bias is not None,
            "activation_function": f"torch.nn.modules.{activation}",
        }
        (folder / path / "config.json").write_text(json.dumps(config))
        weights = {f"linear.{name}": w.detach() for name, w in layer.named_parameters()}
        save_file(weights, folder / path / "model.safetensors")
    modules += [{"type": "sentence_transformers.models.Normalize", "path": "4_Normalize"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    return layers


def test_gemma_in_both_directions_gives_what_transformers_gives(tmp_path: Path) -> None:
    model = gemma(tmp_path)
    runner, asked = runner_of(tmp_path), texts()
    together = vectors(runner, asked)
    for tokens, got, want in zip(asked, together, means(model, asked), strict=True):
        assert_close(got, want.tolist())
        assert_close(got, vectors(runner, [tokens])[0], 2e-5)


def test_dense_layers_follow_the_pooling(tmp_path: Path) -> None:
    model = gemma(tmp_path)
    first, second = add_dense(tmp_path)
    asked = texts()
    for got, mean in zip(vectors(runner_of(tmp_path), asked), means(model, asked), strict=True):
        assert_close(got, second(first(mean)).tanh().tolist())


def test_dense_layers_may_lie_in_the_bodys_own_file(tmp_path: Path) -> None:
    import mlx.core as mx
    from fastmlx.daemon.engine.loader import LoadError

    gemma(tmp_path)
    add_dense(tmp_path)
    want = vectors(runner_of(tmp_path), texts())
    weights: Any = mx.load(str(tmp_path / "model.safetensors"))
    for number in range(2):
        file = tmp_path / f"{number + 2}_Dense" / "model.safetensors"
        layer: Any = mx.load(str(file))
        weights |= {f"dense.{number}.{n.removeprefix('linear.')}": w for n, w in layer.items()}
        mx.eval(layer)
        file.unlink()
    mx.eval(weights)
    mx.save_safetensors(str(tmp_path / "new.safetensors"), weights)
    (tmp_path / "new.safetensors").replace(tmp_path / "model.safetensors")
    assert vectors(runner_of(tmp_path), texts()) == want
    (tmp_path / "modules.json").unlink()
    with pytest.raises(LoadError, match=r"layers that follow the pooling \(dense"):
        runner_of(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activation_function": "torch.nn.modules.activation.ReLU"}, "Dense layer with ReLU"),
        ({"module_input_name": "token_embeddings"}, "Dense layer on token_embeddings"),
        ({"use_residual": True}, "adds its input"),
    ],
)
def test_dense_layers_that_we_cannot_compute_are_refused(change: dict[str, Any], said: str) -> None:
    from fastmlx.daemon.engine.embedding.dense import dense_of

    with pytest.raises(ValueError, match=said):
        dense_of({"in_features": 4, "out_features": 4} | change)


def test_configs_from_before_transformers_5_are_understood() -> None:
    old = {
        "num_hidden_layers": 4,
        "_sliding_window_pattern": 2,
        "rope_theta": 5000.0,
        "rope_local_base_freq": 50.0,
        "rope_scaling": None,
    }
    assert full_layers(old) == [False, True, False, True]
    assert positions(old) == (5000.0, 50.0, None)
