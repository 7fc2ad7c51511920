"""The weights of an encoder's folder, and how they come into our own modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn

Weights: TypeAlias = dict[str, mx.array]


def read_weights(
    folder: Path, prefixes: tuple[str, ...], heads: tuple[str, ...], unused: tuple[str, ...]
) -> tuple[Weights, Weights]:
    """Those of the body and those of its heads, whose names begin with one of `heads`; none of
    `unused`. `prefixes` are taken off all names. Raises FileNotFoundError."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise FileNotFoundError(f"no model*.safetensors in {folder}")
    body: Weights = {}
    head: Weights = {}
    for file in files:
        loaded: Any = mx.load(str(file))
        for name, array in loaded.items():
            for prefix in prefixes:
                name = name.removeprefix(prefix)
            if not name.startswith(unused):
                (head if name.startswith(heads) else body)[name] = array
    return body, head


def fill(module: nn.Module, weights: Weights, config: dict[str, Any]) -> None:
    """Gives the module its weights, quantised where they are. Raises ValueError."""
    if (quantization := config.get("quantization")) is not None:
        nn.quantize(
            module,
            group_size=quantization["group_size"],
            bits=quantization["bits"],
            class_predicate=lambda path, _: f"{path}.scales" in weights,
        )
    module.load_weights(list(weights.items()))
