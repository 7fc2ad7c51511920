"""A folder with a LoRA adapter → its weights, by the module of the model that they change.

Two layouts: mlx-lm's (adapters.safetensors) and PEFT's (adapter_model.safetensors,
https://huggingface.co/docs/peft/developer_guides/checkpoint).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx


class AdapterError(Exception):
    """The adapter cannot be used; the message is for the user and names the adapter."""


class NotStackable(AdapterError):
    """It changes the model in a way that cannot be added row by row."""


class Adapter(NamedTuple):
    name: str
    scale: float
    parts: dict[str, tuple[mx.array, mx.array]]  # module's name → (lora_a, lora_b) as mlx-lm's


def read(name: str, folder: Path) -> Adapter:
    """Raises AdapterError, also for kinds of fine-tuning that are not a plain low-rank sum."""
    config = _config(name, folder)
    if "peft_type" in config:
        return _peft(name, folder, config)
    kind = config.get("fine_tune_type", "lora")
    if kind != "lora":
        raise NotStackable(
            f"adapter {name} is a '{kind}' fine-tune, which cannot be chosen row by row: list its "
            "path without a name to apply it always"
        )
    try:
        scale = float(config["lora_parameters"]["scale"])
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterError(
            f"adapter {name}: adapter_config.json has no number at lora_parameters.scale"
        ) from error
    weights = _weights(name, folder / "adapters.safetensors")
    return Adapter(name, scale, _pairs(name, weights, ".lora_a", ".lora_b"))


def _config(name: str, folder: Path) -> dict[str, Any]:
    file = folder / "adapter_config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise AdapterError(f"adapter {name}: there is no file {file}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise AdapterError(f"adapter {name}: {file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise AdapterError(f"adapter {name}: {file} is not a JSON object")
    return config


def _weights(name: str, file: Path) -> dict[str, mx.array]:
    try:
        weights: Any = mx.load(str(file))
    except (OSError, RuntimeError, ValueError) as error:
        raise AdapterError(f"adapter {name}: {file} cannot be read: {error}") from error
    return weights


def _pairs(
    name: str, weights: dict[str, mx.array], end_a: str, end_b: str
) -> dict[str, tuple[mx.array, mx.array]]:
    parts: dict[str, tuple[mx.array, mx.array]] = {}
    for key in sorted(weights):
        if not key.endswith((end_a, end_b)):
            raise NotStackable(f"adapter {name}: {key} is not a weight of a plain LoRA adapter")
        if key.endswith(end_a):
            module = key.removesuffix(end_a)
            if module + end_b not in weights:
                raise AdapterError(f"adapter {name}: {module} has {end_a} and no {end_b}")
            parts[module] = weights[key], weights[module + end_b]
        elif key.removesuffix(end_b) + end_a not in weights:
            raise AdapterError(f"adapter {name}: {key} has no {end_a} beside it")
    if not parts:
        raise AdapterError(f"adapter {name} has no weights")
    return parts


def _peft(name: str, folder: Path, config: dict[str, Any]) -> Adapter:
    kind = config.get("peft_type")
    unusual = [key for key in ("use_dora", "rank_pattern", "alpha_pattern") if config.get(key)]
    if kind != "LORA" or unusual or config.get("bias", "none") != "none":
        raise NotStackable(
            f"adapter {name}: {kind} adapters of PEFT"
            + (f" with {', '.join(unusual)}" if unusual else "")
            + " cannot be used: plain LoRA without biases can"
        )
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterError(
            f"adapter {name}: adapter_config.json lacks the number r or lora_alpha"
        ) from error
    weights = {
        key.removeprefix("base_model.model."): array
        for key, array in _weights(name, folder / "adapter_model.safetensors").items()
    }
    found = _pairs(name, weights, ".lora_A.weight", ".lora_B.weight")
    parts = {module: (a.T, b.T) for module, (a, b) in found.items()}
    scale = alpha / math.sqrt(rank) if config.get("use_rslora") else alpha / rank
    return Adapter(name, scale, parts)
