"""LoRA adapters with random weights for tiny models, as mlx-lm's tuner writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_adapter(
    folder: Path,
    adapter: Path,
    *,
    seed: int = 1,
    rank: int = 4,
    scale: float = 20.0,
    layers: int | None = None,
    keys: list[str] | None = None,
    kind: str = "lora",
) -> Path:
    """An adapter for the model in `folder`; `layers`: only the last ones, `keys`: only these
    modules."""
    import mlx.core as mx
    from engines import model_at
    from mlx.utils import tree_flatten, tree_map
    from mlx_lm.tuner.utils import linear_to_lora_layers

    model = model_at.__wrapped__(folder)
    parameters: dict[str, Any] = {"rank": rank, "scale": scale, "dropout": 0.0}
    if keys is not None:
        parameters["keys"] = keys
    layers = len(model.layers) if layers is None else layers
    model.freeze()
    linear_to_lora_layers(model, layers, parameters, use_dora=kind == "dora")
    mx.random.seed(seed)
    random = tree_map(lambda p: mx.random.normal(p.shape) * 0.3, model.trainable_parameters())
    adapter.mkdir(parents=True)
    weights: dict[str, mx.array] = dict(tree_flatten(random))  # type: ignore[arg-type]
    mx.save_safetensors(str(adapter / "adapters.safetensors"), weights)
    config = {"fine_tune_type": kind, "num_layers": layers, "lora_parameters": parameters}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    return adapter
