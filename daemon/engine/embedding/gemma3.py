"""Gemma 3's text model as an encoder: EmbeddingGemma. Tokens see those after them, too.

Sources: https://arxiv.org/abs/2509.20354; transformers' Gemma3TextModel with
use_bidirectional_attention. The layers are mlx-lm's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn

from ..loader import config_context
from .weights import Weights, fill, read_weights

_PREFIXES = ("model.",)
_HEADS = ("lm_head.", "dense.")


class Positions(NamedTuple):
    """How rotary positions turn."""

    theta: float  # of full layers
    local_theta: float  # of sliding layers
    scaling: dict[str, Any] | None  # of full layers


def is_gemma_encoder(config: Mapping[str, Any]) -> bool:
    """Whether config.json is that of a Gemma 3 text model which attends in both directions."""
    return (
        config.get("model_type") == "gemma3_text"
        and config.get("use_bidirectional_attention") is True
    )


class Gemma3Encoder(nn.Module):
    """Tokens int [rows, n] and mask bool [rows, n] → hidden states [rows, n, hidden]."""

    def __init__(self, config: dict[str, Any]) -> None:
        from mlx_lm.models.gemma3_text import ModelArgs, RMSNorm, TransformerBlock

        super().__init__()
        rope = positions(config)
        arguments = replace(
            ModelArgs.from_dict(config),
            rope_theta=rope.theta,
            rope_local_base_freq=rope.local_theta,
            rope_scaling=rope.scaling,  # type: ignore[arg-type]
        )
        self._full = full_layers(config)
        # transformers halves the window, which lies around each token; its bound is included here.
        self._reach = arguments.sliding_window // 2
        self.embed_tokens = nn.Embedding(arguments.vocab_size, arguments.hidden_size)
        # mlx-lm counts which layers slide: every one but each n-th, n being 1 or beyond the last.
        beyond = len(self._full) + 1
        self.layers = [
            TransformerBlock(replace(arguments, sliding_window_pattern=1 if full else beyond), n)
            for n, full in enumerate(self._full)
        ]
        self.norm = RMSNorm(arguments.hidden_size, eps=arguments.rms_norm_eps)

    @property
    def vocab_size(self) -> int:
        return self.embed_tokens.weight.shape[0]

    def __call__(self, tokens: mx.array, mask: mx.array, *_: Any) -> mx.array:
        columns = mx.arange(tokens.shape[1])
        apart = mx.abs(columns[:, None] - columns)
        everything = mask[:, None, None]
        # Padding far from the text sees itself: without anything to see it would become NaN.
        near = (everything & (apart <= self._reach)) | (apart == 0)
        x = self.embed_tokens(tokens)
        # In the type of the weights, not always in bfloat16 as mlx-lm's body does it.
        x = x * mx.array(x.shape[-1] ** 0.5, x.dtype)
        for full, layer in zip(self._full, self.layers, strict=True):
            x = layer(x, everything if full else near)
        return self.norm(x)


def full_layers(config: Mapping[str, Any]) -> list[bool]:
    """Of each layer, whether it sees all tokens; the others see a window."""
    kinds = config.get("layer_types")
    if kinds:
        return [kind == "full_attention" for kind in kinds]
    every = config.get("sliding_window_pattern") or config.get("_sliding_window_pattern") or 6
    return [(number + 1) % every == 0 for number in range(config["num_hidden_layers"])]


def positions(config: Mapping[str, Any]) -> Positions:
    """As transformers 5 writes them, or as those before did. Raises ValueError."""
    rope = config.get("rope_parameters") or {}
    full, local = rope.get("full_attention") or {}, rope.get("sliding_attention") or {}
    if local.get("rope_type", "default") != "default":
        raise ValueError("scaled rotary positions of sliding layers are not supported for gemma3")
    scaling = full if full.get("rope_type", "default") != "default" else config.get("rope_scaling")
    return Positions(
        float(full.get("rope_theta") or config.get("rope_theta") or 1_000_000.0),
        float(local.get("rope_theta") or config.get("rope_local_base_freq") or 10_000.0),
        dict(scaling) if scaling else None,
    )


def load_gemma3(folder: Path, config: dict[str, Any]) -> tuple[Gemma3Encoder, int, Weights]:
    """The model with its weights, its context in tokens, and the weights of its heads. Raises
    ValueError, KeyError, FileNotFoundError."""
    usual = {
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
        "attn_logit_softcapping": None,
    }
    for key, value in usual.items():
        if config.get(key, value) != value:
            raise ValueError(f"{key} {config[key]!r} is not supported for gemma3_text")
    model = Gemma3Encoder(config)
    weights, heads = read_weights(folder, _PREFIXES, _HEADS, ())
    fill(model, weights, config)
    return model, config_context(config), heads
