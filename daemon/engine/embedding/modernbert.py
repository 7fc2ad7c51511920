"""ModernBERT: rotary positions, gated layers, and most layers attend within a window only.

Source: https://arxiv.org/abs/2412.13663; names of the weights as transformers writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .weights import Weights, fill, read_weights

MODEL_TYPES = ("modernbert",)
_PREFIXES = ("model.",)
_HEADS = ("head.", "decoder.", "classifier.")
_THETA = {"full_attention": 160_000.0, "sliding_attention": 10_000.0}
_OLD_THETA = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}


def layer_norm(config: dict[str, Any]) -> nn.LayerNorm:
    return nn.LayerNorm(
        config["hidden_size"],
        eps=config.get("norm_eps", 1e-5),
        bias=config.get("norm_bias", False),
    )


class Embeddings(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.norm = layer_norm(config)

    def __call__(self, tokens: mx.array) -> mx.array:
        return self.norm(self.tok_embeddings(tokens))


class Attention(nn.Module):
    def __init__(self, config: dict[str, Any], kind: str) -> None:
        super().__init__()
        width, bias = config["hidden_size"], config.get("attention_bias", False)
        self._heads = config["num_attention_heads"]
        self._theta = rope_theta(config, kind)
        self.Wqkv = nn.Linear(width, 3 * width, bias=bias)
        self.Wo = nn.Linear(width, width, bias=bias)

    def __call__(self, x: mx.array, mask: mx.array) -> mx.array:
        rows, length, width = x.shape
        dim = width // self._heads
        qkv = self.Wqkv(x).reshape(rows, length, 3, self._heads, dim).transpose(2, 0, 3, 1, 4)

        def turned(y: mx.array) -> mx.array:
            return mx.fast.rope(y, dim, traditional=False, base=self._theta, scale=1.0, offset=0)

        out = mx.fast.scaled_dot_product_attention(
            turned(qkv[0]), turned(qkv[1]), qkv[2], scale=dim**-0.5, mask=mask
        )
        return self.Wo(out.transpose(0, 2, 1, 3).reshape(rows, length, width))


class Gated(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        bias = config.get("mlp_bias", False)
        self.Wi = nn.Linear(width, 2 * inner, bias=bias)
        self.Wo = nn.Linear(inner, width, bias=bias)

    def __call__(self, x: mx.array) -> mx.array:
        x, gate = mx.split(self.Wi(x), 2, axis=-1)
        return self.Wo(nn.gelu(x) * gate)


class Layer(nn.Module):
    def __init__(self, config: dict[str, Any], number: int, kind: str) -> None:
        super().__init__()
        if number:  # the embeddings are normalised already
            self.attn_norm = layer_norm(config)
        self.attn = Attention(config, kind)
        self.mlp_norm = layer_norm(config)
        self.mlp = Gated(config)

    def __call__(self, x: mx.array, mask: mx.array) -> mx.array:
        x = x + self.attn(self.attn_norm(x) if "attn_norm" in self else x, mask)
        return x + self.mlp(self.mlp_norm(x))


class ModernBert(nn.Module):
    """Tokens int [rows, n] and mask bool [rows, n] → hidden states [rows, n, hidden]; second texts
    are not marked."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self._kinds = layer_types(config)
        self._window = config.get("local_attention", 128) // 2
        self.embeddings = Embeddings(config)
        self.layers = [Layer(config, number, kind) for number, kind in enumerate(self._kinds)]
        self.final_norm = layer_norm(config)

    @property
    def vocab_size(self) -> int:
        return self.embeddings.tok_embeddings.weight.shape[0]

    def __call__(self, tokens: mx.array, mask: mx.array, *_: Any) -> mx.array:
        columns = mx.arange(tokens.shape[1])
        apart = mx.abs(columns[:, None] - columns)
        everything = mask[:, None, None]
        # Padding far from the text sees itself: without anything to see it would become NaN.
        near = (everything & (apart <= self._window)) | (apart == 0)
        x = self.embeddings(tokens)
        for kind, layer in zip(self._kinds, self.layers, strict=True):
            x = layer(x, everything if kind == "full_attention" else near)
        return self.final_norm(x)


class ModernBertHead(nn.Module):
    """Of a cross-encoder: hidden states and lengths → log-odds [rows]."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self._mean = config.get("classifier_pooling", "cls") == "mean"
        self.head = {
            "dense": nn.Linear(width, width, bias=config.get("classifier_bias", False)),
            "norm": layer_norm(config),
        }
        self.classifier = nn.Linear(width, 1)

    def __call__(self, hidden: mx.array, lengths: mx.array, labels: Any) -> mx.array:
        x = hidden[:, 0]
        if self._mean:
            inside = mx.arange(hidden.shape[1]) < lengths[:, None]
            x = mx.where(inside[..., None], hidden, 0.0).sum(axis=1) / lengths[:, None]
        return self.classifier(self.head["norm"](nn.gelu(self.head["dense"](x))))[:, 0]


def layer_types(config: dict[str, Any]) -> list[str]:
    every = config.get("global_attn_every_n_layers", 3)
    return config.get("layer_types") or [
        "sliding_attention" if number % every else "full_attention"
        for number in range(config["num_hidden_layers"])
    ]


def rope_theta(config: dict[str, Any], kind: str) -> float:
    """As transformers 5 writes it, or as those before did. Raises ValueError."""
    rope = (config.get("rope_parameters") or {}).get(kind) or {}
    if rope.get("rope_type", "default") != "default" or config.get("rope_scaling"):
        raise ValueError("scaled rotary positions are not supported for modernbert")
    return float(rope.get("rope_theta") or config.get(_OLD_THETA[kind]) or _THETA[kind])


def load_modernbert(folder: Path, config: dict[str, Any]) -> tuple[ModernBert, int, Weights]:
    """The model with its weights, its context in tokens, and the weights of its heads. Raises
    ValueError, KeyError, FileNotFoundError."""
    for key in ("hidden_activation", "classifier_activation"):
        if config.get(key, "gelu") != "gelu":
            raise ValueError(f"{key} {config[key]!r} is not supported for modernbert")
    model = ModernBert(config)
    weights, heads = read_weights(folder, _PREFIXES, _HEADS, ())
    fill(model, weights, config)
    return model, config["max_position_embeddings"], heads
