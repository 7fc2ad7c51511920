"""Folder → the body of a model, without the head that would make tokens of its hidden states."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn

from .. import device
from ..loader import LoadError, config_context
from .bert import MODEL_TYPES, load_bert
from .pooling import Pooling, read_pooling

# Where mlx-lm's models keep what gives hidden states.
BODIES = ("model", "language_model.model", "backbone", "transformer")


class LoadedBody(NamedTuple):
    body: Callable[[mx.array, mx.array], mx.array]  # tokens, mask [rows, n] → [rows, n, hidden]
    pooling: Pooling
    vocab_size: int
    context: int  # tokens
    weights_bytes: int
    notes: tuple[str, ...]


def load_body(folder: Path, context: int | None) -> LoadedBody:
    """Loads and evaluates it. Raises LoadError for whatever is wrong with the folder."""
    from mlx_lm.utils import load_config

    try:
        config = load_config(folder)
        module: Any
        encoder = config.get("model_type") in MODEL_TYPES
        if encoder:
            module, own_context = load_bert(folder, config)
            pooling = read_pooling(folder, "mean")
            embedding = module.embeddings.word_embeddings
        else:
            module, embedding = _decoder(folder, config)
            pooling, own_context = read_pooling(folder, "last"), config_context(config)
        note = device.adapt(module)
        module.eval()
        mx.eval(module.parameters())
    except LoadError:
        raise
    except FileNotFoundError as error:
        raise LoadError(f"a file of the model is missing: {error}") from error
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as error:
        raise LoadError(str(error).strip() or type(error).__name__) from error
    weights_bytes = sum(array.nbytes for _, array in device.parameters(module))
    body: Any = module if encoder else lambda tokens, mask: module(tokens)
    notes = (note,) if note else ()
    return LoadedBody(
        body, pooling, embedding.weight.shape[0], context or own_context, weights_bytes, notes
    )


def _decoder(folder: Path, config: dict[str, Any]) -> tuple[Any, Any]:
    """The body of a decoder and its embedding. Tokens see those before them only, so that padding
    on the right changes nothing."""
    from mlx_lm.utils import _get_classes, load_model

    text = config.get("text_config") or {}
    for section in (config, text):
        if section.get("use_bidirectional_attention") or section.get("is_causal") is False:
            raise LoadError(
                "this model attends to the tokens after each one, too, which mlx-lm's file for its "
                "architecture does not"
            )
    names: set[str] = set()

    def classes(config: dict[str, Any]) -> tuple[type[nn.Module], type]:
        plain, arguments = _get_classes(config)

        class Sanitized(plain):
            def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
                if any(name.startswith("layers.") for name in weights):
                    # Saved by sentence-transformers: the body alone.
                    weights = {f"model.{name}": array for name, array in weights.items()}
                own: Any = getattr(super(), "sanitize", None)
                weights = own(weights) if own is not None else weights
                names.update(weights)
                return weights

        return Sanitized, arguments

    # Not strict: the head, which is not used, may be missing.
    model, _ = load_model(folder, lazy=True, strict=False, get_model_classes=classes)
    for path in BODIES:
        body: Any = model
        for part in path.split("."):
            body = getattr(body, part, None)
        if body is not None:
            break
    else:
        raise LoadError(f"mlx-lm's {config['model_type']} has no part that gives hidden states")
    path = next(name for name, module in model.named_modules() if module is body)
    missing = {f"{path}.{name}" for name, _ in device.parameters(body)} - names
    if missing:
        raise LoadError(f"the weights lack {len(missing)} tensors, among them {min(missing)}")
    for name in ("embed_tokens", "embeddings", "wte", "word_embeddings", "tok_embeddings"):
        if hasattr(body, name):
            return body, getattr(body, name)
    raise LoadError(f"mlx-lm's {config['model_type']} has no table of embeddings that we know")
