"""BERT and its relatives with learnt positions: MiniLM, BGE, E5, XLM-RoBERTa.

Source: https://arxiv.org/abs/1810.04805; names of the weights as transformers writes them. RoBERTa
counts positions from its padding token's id on (https://arxiv.org/abs/1907.11692).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from .weights import Weights, fill, read_weights

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert")
_PREFIXES = ("bert.", "roberta.", "model.")
_HEADS = ("pooler.", "cls.", "lm_head.", "classifier.")
_UNUSED = ("embeddings.position_ids",)


class Embeddings(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.word_embeddings = nn.Embedding(config["vocab_size"], width)
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], width)
        self.token_type_embeddings = nn.Embedding(config.get("type_vocab_size", 2), width)
        self.LayerNorm = nn.LayerNorm(width, eps=config.get("layer_norm_eps", 1e-12))
        self._first = first_position(config)

        self._types = self.token_type_embeddings.weight.shape[0]

    def __call__(self, tokens: mx.array, seconds: mx.array | None) -> mx.array:
        columns = mx.arange(tokens.shape[1])
        x = self.word_embeddings(tokens) + self.position_embeddings(self._first + columns)
        if seconds is None or self._types < 2:
            types = mx.zeros_like(tokens)
        else:
            types = (columns >= seconds[:, None]).astype(tokens.dtype)
        return self.LayerNorm(x + self.token_type_embeddings(types))


class SelfAttention(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self._heads = config["num_attention_heads"]
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def __call__(self, x: mx.array, mask: mx.array) -> mx.array:
        rows, length, width = x.shape
        dim = width // self._heads

        def heads(y: mx.array) -> mx.array:
            return y.reshape(rows, length, self._heads, dim).transpose(0, 2, 1, 3)

        out = mx.fast.scaled_dot_product_attention(
            heads(self.query(x)),
            heads(self.key(x)),
            heads(self.value(x)),
            scale=dim**-0.5,
            mask=mask,
        )
        return out.transpose(0, 2, 1, 3).reshape(rows, length, width)


class Sum(nn.Module):
    """A projection back to the hidden size, added and normalised."""

    def __init__(self, width_in: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(
            config["hidden_size"], eps=config.get("layer_norm_eps", 1e-12)
        )

    def __call__(self, x: mx.array, residual: mx.array) -> mx.array:
        return self.LayerNorm(self.dense(x) + residual)


class Layer(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.attention = {"self": SelfAttention(config), "output": Sum(width, config)}
        self.intermediate = {"dense": nn.Linear(width, inner)}
        self.output = Sum(inner, config)

    def __call__(self, x: mx.array, mask: mx.array) -> mx.array:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(nn.gelu(self.intermediate["dense"](x)), x)


class Bert(nn.Module):
    """Tokens int [rows, n], mask bool [rows, n] and, of pairs, where the second text of each row
    begins, int [rows] → hidden states [rows, n, hidden]."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = {"layer": [Layer(config) for _ in range(config["num_hidden_layers"])]}

    @property
    def vocab_size(self) -> int:
        return self.embeddings.word_embeddings.weight.shape[0]

    def __call__(
        self, tokens: mx.array, mask: mx.array, seconds: mx.array | None = None
    ) -> mx.array:
        x = self.embeddings(tokens, seconds)
        for layer in self.encoder["layer"]:
            x = layer(x, mask[:, None, None])
        return x


def first_position(config: dict[str, Any]) -> int:
    return 0 if config["model_type"] == "bert" else int(config.get("pad_token_id", 1)) + 1


def load_bert(folder: Path, config: dict[str, Any]) -> tuple[Bert, int, Weights]:
    """The model with its weights, its context in tokens, and the weights of its heads. Raises
    ValueError, KeyError, FileNotFoundError."""
    unusual = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, usual in unusual.items():
        if config.get(key, usual) != usual:
            raise ValueError(f"{key} {config[key]!r} is not supported for {config['model_type']}")
    model = Bert(config)
    weights, heads = read_weights(folder, _PREFIXES, _HEADS, _UNUSED)
    fill(model, weights, config)
    return model, config["max_position_embeddings"] - first_position(config), heads
