"""Folder → model. mlx-lm's loaders do the work; what can go wrong gets a plain sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn

from ..protocol.wire import NamedAdapter
from . import device
from .adapters.folder import AdapterError
from .adapters.selection import Selection

DEFAULT_CONTEXT = 4096  # tokens; for configs that say nothing
MAX_CONTEXT = 1 << 31  # some say 1e30 for any length


# What comes of models that are not as they should be.
BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)


class LoadError(Exception):
    """The model cannot be loaded; the message is for the user."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    model: nn.Module
    context: int  # tokens that a sequence may hold
    weights_bytes: int
    notes: tuple[str, ...]
    selection: Selection | None = None  # where rows choose among named adapters


def load(
    folder: Path,
    adapters: tuple[str, ...],
    context: int | None,
    progress: Callable[[str], None],
    named: Sequence[NamedAdapter] = (),
    split: Callable[[nn.Module, dict], None] = lambda model, config: None,
) -> LoadedModel:
    """Loads weights and adapters and evaluates them.

    `adapters` are folders, always applied; rows choose among the `named`. `context` overrides what
    the config says. `progress` hears the name of each stage. `split` may take away what other
    processes compute, before any weight is read.
    Raises LoadError for whatever is wrong with the folder.
    """
    progress("importing")
    from mlx_lm.utils import load_model

    progress("reading weights")
    notes: list[str] = []
    selection = None
    try:
        model, config = load_model(folder, lazy=True)
        if adapters or named:
            from .adapters.install import apply_always, make_selectable

            for adapter in adapters:
                model = apply_always(model, Path(adapter))
            if named:
                selection = make_selectable(model, [(a.name, Path(a.path)) for a in named])
        split(model, config)
        note = device.adapt(model)
        if note:
            notes.append(note)
        model.eval()
        mx.eval(model.parameters())
    except AdapterError as error:
        raise LoadError(str(error)) from error
    except FileNotFoundError as error:
        raise LoadError(f"a file of the model is missing: {error}") from error
    except json.JSONDecodeError as error:
        raise LoadError(f"config.json is not valid JSON: {error}") from error
    except SystemExit as error:  # a model file that misses a package of its own (olmo)
        raise LoadError(
            "mlx-lm's file for this architecture gave up while it was imported: it may need a "
            "package that is not installed; the log of the engine has what it printed"
        ) from error
    except BROKEN as error:
        # mlx-lm and MLX raise all of these for unknown architectures, misshapen or missing weights.
        reason = str(error).strip() or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"config.json or the weights lack {reason}"
        raise LoadError(reason) from error
    weights_bytes = sum(p.nbytes for _, p in device.parameters(model))
    return LoadedModel(
        model, context or config_context(config), weights_bytes, tuple(notes), selection
    )


def config_context(config: dict) -> int:
    """The context length that a Hugging Face config declares, in tokens."""
    for section in (config.get("text_config") or {}, config):
        for key in ("max_position_embeddings", "max_seq_len", "n_ctx", "n_positions"):
            value = section.get(key)
            if isinstance(value, int) and 0 < value <= MAX_CONTEXT:
                return value
    return DEFAULT_CONTEXT
