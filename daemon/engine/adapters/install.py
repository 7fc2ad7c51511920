"""Puts adapters into a loaded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.dora import DoRALinear
from mlx_lm.tuner.lora import LoRALinear, LoRASwitchLinear
from mlx_lm.utils import load_adapters

from .experts import AdaptedExperts, LowRankExperts
from .folder import Adapter, AdapterError, NotStackable, read
from .linear import AdaptedLinear, LowRank
from .selection import Selection

_LINEAR = (nn.Linear, nn.QuantizedLinear, LoRALinear, DoRALinear, AdaptedLinear)
_EXPERTS = (SwitchLinear, QuantizedSwitchLinear, LoRASwitchLinear, AdaptedExperts)


def apply_always(model: nn.Module, folder: Path) -> nn.Module:
    """Adds the adapter to every row of every forward. Plain LoRA may be added to what other
    adapters changed before; what mlx-lm trains besides goes its own way.

    Raises AdapterError, and what mlx-lm's loader raises (ValueError, KeyError, OSError).
    """
    try:
        adapter = read(str(folder), folder)
        _put(model, [adapter], Selection.always(adapter.scale))
    except NotStackable:
        if (folder / "adapter_model.safetensors").exists():
            raise
        model = load_adapters(model, str(folder))
    return model


def make_selectable(model: nn.Module, named: list[tuple[str, Path]]) -> Selection:
    """Adds adapters that rows choose: the first is number 1 of the returned Selection.

    Raises AdapterError.
    """
    adapters = [read(name, folder) for name, folder in named]
    selection = Selection([adapter.scale for adapter in adapters])
    _put(model, adapters, selection)
    return selection


def _put(model: nn.Module, adapters: list[Adapter], selection: Selection) -> None:
    """Replaces each module that an adapter names; adapters are numbered from 1."""
    modules: dict[str, Any] = dict(model.named_modules())
    changed: dict[str, dict[int, tuple[mx.array, mx.array]]] = {}
    for number, adapter in enumerate(adapters, 1):
        for name, part in adapter.parts.items():
            changed.setdefault(_known(modules, adapter, name, part), {})[number] = part
    replaced: list[tuple[str, nn.Module]] = []
    for name, parts in changed.items():
        module = modules[name]
        if isinstance(module, _EXPERTS):
            experts = {number: LowRankExperts(*part) for number, part in parts.items()}
            replaced.append((name, AdaptedExperts(module, experts, selection)))
        else:
            linear = {number: LowRank(*part) for number, part in parts.items()}
            replaced.append((name, AdaptedLinear(module, linear, selection)))
    model.update_modules(tree_unflatten(replaced))  # type: ignore[arg-type]


def _known(
    modules: dict[str, Any], adapter: Adapter, name: str, part: tuple[mx.array, mx.array]
) -> str:
    """The module's name in the model, after its kind and shape were checked."""
    module = modules.get(name)
    if module is None:
        raise AdapterError(f"adapter {adapter.name}: the model has no module {name}")
    a, b = part
    if isinstance(module, _EXPERTS):
        experts = _innermost(module)
        count, out, width = experts.num_experts, experts.output_dims, experts.input_dims
        fits = (
            a.ndim == b.ndim == 3
            and (a.shape[0], a.shape[2]) == (count, width)
            and b.shape == (count, out, a.shape[1])
        )
    elif isinstance(module, _LINEAR):
        out, width = _shape(_innermost(module))
        fits = a.ndim == b.ndim == 2 and a.shape[0] == width and b.shape == (a.shape[1], out)
    else:
        raise NotStackable(
            f"adapter {adapter.name} changes {name} ({type(module).__name__}), which cannot be "
            "done row by row: list its path without a name to apply it always"
        )
    if not fits:
        raise AdapterError(
            f"adapter {adapter.name} was made for another model: its weights for {name} have the "
            f"shapes {a.shape} and {b.shape}, which do not fit {out} outputs of {width} inputs"
        )
    return name


def _innermost(module: Any) -> Any:
    while hasattr(module, "linear"):
        module = module.linear
    return module


def _shape(linear: Any) -> tuple[int, int]:
    """(out, in) of a linear layer."""
    out, width = linear.weight.shape
    if isinstance(linear, nn.QuantizedLinear):
        width = width * 32 // linear.bits
    return out, width
