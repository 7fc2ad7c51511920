"""How many parameters a model has, counted from the headers of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .weights import read_header, shards


def parameters(folder: Path, config: Mapping[str, Any]) -> int:
    """Quantised weights lie packed, beside scales of which there is one a group: those tell how
    many they are (MLX: `mx.quantize`). Blocking. Raises ModelFailed.
    """
    shapes: dict[str, list[int]] = {}
    for shard in shards(folder):
        shapes |= {name: tensor.shape for name, tensor in read_header(shard).items()}
    quantization = config.get("quantization") or config.get("quantization_config")
    found = quantization if isinstance(quantization, Mapping) else {}
    count = 0
    for name, shape in shapes.items():
        module, _, part = name.rpartition(".")
        is_quantized = f"{module}.scales" in shapes
        if not is_quantized:
            count += math.prod(shape)
        elif part == "scales":
            count += math.prod(shape) * _group_size(found, module)
        elif part not in ("weight", "biases"):
            count += math.prod(shape)
    return count


def _group_size(quantization: Mapping[str, Any], module: str) -> int:
    own = quantization.get(module)
    for place in (own if isinstance(own, Mapping) else {}, quantization):
        size = place.get("group_size")
        if isinstance(size, int) and size > 0:
            return size
    return 64  # what MLX takes when nothing is said
