"""Decoders on mlx-lm's own models, without what makes tokens of their hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn

from .. import device
from ..loader import LoadError

# Where mlx-lm's models keep what gives hidden states.
BODIES = ("model", "language_model.model", "backbone", "transformer")
SCORE = "score.weight"  # the head of transformers' …ForSequenceClassification


class Decoder(NamedTuple):
    body: Any  # tokens [rows, n] → hidden states [rows, n, hidden]
    embedding: Any
    output: Any  # the layer that makes logits, or the embedding that it is tied to; None: missing
    score: mx.array | None  # [classes, hidden]


def load_decoder(folder: Path, config: dict[str, Any]) -> Decoder:
    """Tokens see those before them only, so that padding on the right changes nothing. Raises
    LoadError, ValueError and what mlx-lm raises."""
    from mlx_lm.utils import _get_classes, load_model

    text = config.get("text_config") or {}
    for section in (config, text):
        if section.get("use_bidirectional_attention") or section.get("is_causal") is False:
            raise LoadError(
                "this model attends to the tokens after each one, too, which mlx-lm's file for its "
                "architecture does not"
            )
    names: set[str] = set()
    scores: list[mx.array] = []

    def classes(config: dict[str, Any]) -> tuple[type[nn.Module], type]:
        plain, arguments = _get_classes(config)

        class Sanitized(plain):
            def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
                if SCORE in weights:
                    scores.append(weights.pop(SCORE))
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
            embedding = getattr(body, name)
            output = model.get("lm_head", embedding)
            if output is not embedding and "lm_head.weight" not in names:
                output = None
            return Decoder(body, embedding, output, scores[0] if scores else None)
    raise LoadError(f"mlx-lm's {config['model_type']} has no table of embeddings that we know")
