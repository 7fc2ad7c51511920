"""Whether a model can be split over several processes. Pure: says why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What a tensor split divides: each rank computes so many whole heads.
_HEADS = (
    "num_attention_heads",
    "num_key_value_heads",
    "linear_num_key_heads",
    "linear_num_value_heads",
)
# mlx-lm's files that repeat keys and values where there are more ranks than heads of them.
_REPEATS = frozenset({"qwen3_5", "qwen3_5_moe"})


def fault(
    config: Mapping[str, Any], mode: str, size: int, *, shards: bool, pipelines: bool
) -> str | None:
    """Why this model cannot run as `size` processes in `mode`, or None.

    `shards` and `pipelines` say what mlx-lm's file for the architecture has.
    """
    architecture = config.get("model_type", "this architecture")
    can = {"tensor": shards, "pipeline": pipelines}
    if not can[mode]:
        other = next((m for m in can if can[m]), None)
        hint = f"; mode {other} it can" if other else ""
        return f"{architecture} cannot be split over processes in mode {mode}{hint}"
    text = {**config, **(config.get("text_config") or {})}
    if mode == "pipeline":
        layers = text.get("num_hidden_layers")
        if isinstance(layers, int) and layers < size:
            return f"{layers} layers cannot be a pipeline of {size} processes"
        return None
    for key in _HEADS:
        heads = text.get(key)
        if not isinstance(heads, int) or heads % size == 0:
            continue
        repeats = key == "num_key_value_heads" and architecture in _REPEATS
        if not (repeats and size % heads == 0):
            return f"{key} is {heads}: it cannot be divided by {size} processes"
    return None
