"""Layers after the pooling: sentence-transformers' Dense, one folder each.

Source: https://www.sbert.net/docs/package_reference/sentence_transformer/models.html
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .pooling import Modules
from .weights import Weights, fill, read_weights

_ACTIVATIONS = ("Identity", "Tanh")


class Dense(nn.Module):
    """Vectors [rows, in] → [rows, out]."""

    def __init__(self, width: int, out: int, *, bias: bool, tanh: bool) -> None:
        super().__init__()
        self._tanh = tanh
        self.linear = nn.Linear(width, out, bias=bias)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.linear(x)
        return mx.tanh(x) if self._tanh else x


def dense_of(config: dict[str, Any]) -> Dense:
    """A layer without its weights. Raises ValueError, KeyError."""
    # A name such as torch.nn.modules.linear.Identity
    name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    activation = "Identity" if name == "None" else name
    if activation not in _ACTIVATIONS:
        known = " and ".join(_ACTIVATIONS)
        raise ValueError(f"a Dense layer with {activation} is not supported: {known} are")
    if config.get("use_residual"):
        raise ValueError("a Dense layer that adds its input is not supported")
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise ValueError(f"a Dense layer on {config[key]} is not supported")
    return Dense(
        config["in_features"],
        config["out_features"],
        bias=config.get("bias", True),
        tanh=activation == "Tanh",
    )


def load_dense(
    folder: Path, modules: Modules, body: Weights, config: dict[str, Any]
) -> Sequence[Dense]:
    """In their order, with their weights. `body`: what the body's file holds besides the body;
    `config`: the body's. Raises ValueError, KeyError, FileNotFoundError."""
    if not modules.dense and any(name.startswith("dense.") for name in body):
        raise ValueError(
            "its weights hold layers that follow the pooling (dense.…), but its modules.json, "
            "which says how, names none"
        )
    layers: list[Dense] = []
    for number, (path, described) in enumerate(modules.dense):
        layer = dense_of(described)
        # Files that were converted for MLX hold these layers beside the body.
        own = f"dense.{number}."
        inside = {
            f"linear.{name.removeprefix(own)}": array
            for name, array in body.items()
            if name.startswith(own)
        }
        if inside and not (folder / path / "model.safetensors").exists():
            fill(layer, inside, config)
        else:
            fill(layer, read_weights(folder / path, (), (), ())[0], {})
        layers.append(layer)
    return layers
