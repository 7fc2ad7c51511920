"""From hidden states to one number: how well the two texts of an input fit, as log-odds.

Cross-encoders have a head that was trained for it, and read the first token; decoders are asked,
and it is the likelihood of yes against that of no after the last token.
Sources: transformers' BertForSequenceClassification and XLMRobertaForSequenceClassification;
https://huggingface.co/Qwen/Qwen3-Reranker-0.6B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import mlx.core as mx
import mlx.nn as nn

from .weights import Weights, fill

Labels: TypeAlias = tuple[int, int] | None  # the tokens of no and yes, where a model is asked

# Hidden states [rows, n, hidden], lengths [rows] and the labels of each row → log-odds [rows].
Head: TypeAlias = Callable[[mx.array, mx.array, Sequence[Labels]], mx.array]


class BertHead(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.pooler = {"dense": nn.Linear(width, width)}
        self.classifier = nn.Linear(width, 1)

    def __call__(self, hidden: mx.array, lengths: mx.array, labels: Sequence[Labels]) -> mx.array:
        return self.classifier(mx.tanh(self.pooler["dense"](hidden[:, 0])))[:, 0]


class RobertaHead(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.classifier = {"dense": nn.Linear(width, width), "out_proj": nn.Linear(width, 1)}

    def __call__(self, hidden: mx.array, lengths: mx.array, labels: Sequence[Labels]) -> mx.array:
        x = mx.tanh(self.classifier["dense"](hidden[:, 0]))
        return self.classifier["out_proj"](x)[:, 0]


class ScoreHead:
    """The last token's hidden state times one trained row [hidden]."""

    def __init__(self, row: mx.array) -> None:
        self._row = row.astype(mx.float32)

    def __call__(self, hidden: mx.array, lengths: mx.array, labels: Sequence[Labels]) -> mx.array:
        return _last(hidden, lengths) @ self._row


class YesNoHead:
    """What the model says after the last token: the logit of yes less that of no."""

    def __init__(self, table: Any) -> None:
        """`table`: the model's output layer, or the embedding that it is tied to."""
        self._table = table
        self._kept: dict[tuple[int, int], mx.array] = {}

    def __call__(self, hidden: mx.array, lengths: mx.array, labels: Sequence[Labels]) -> mx.array:
        rows = mx.stack([self._row(pair) for pair in labels])
        return (_last(hidden, lengths) * rows).sum(axis=1)

    def _row(self, labels: Labels) -> mx.array:
        if labels is None:
            raise ValueError("an input for this model needs the tokens of no and yes")
        row = self._kept.get(labels)
        if row is None:
            no, yes = rows_of(self._table, labels).astype(mx.float32)
            row = self._kept[labels] = yes - no
        return row


def _last(hidden: mx.array, lengths: mx.array) -> mx.array:
    return hidden[mx.arange(hidden.shape[0]), lengths - 1].astype(mx.float32)


def load_head(head: nn.Module, name: str, weights: Weights, config: dict[str, Any]) -> nn.Module:
    """`head` with its weights; `name` is that of its last layer. Raises ValueError."""
    last = weights.get(f"{name}.weight")
    if last is None:
        raise ValueError(
            f"it has no head that compares two texts: its weights lack the tensor {name}.weight"
        )
    if last.shape[0] != 1:
        raise ValueError(f"it tells {last.shape[0]} classes apart; a reranker gives one score")
    own = tuple(f"{part}." for part in head)
    fill(head, {key: array for key, array in weights.items() if key.startswith(own)}, config)
    return head


def rows_of(table: Any, tokens: tuple[int, ...]) -> mx.array:
    """Rows [tokens, hidden] of an embedding or of an output layer, quantised or not."""
    picked = mx.array(tokens)
    scales = table.get("scales")
    if scales is None:
        return table.weight[picked]
    biases = table.get("biases")
    return mx.dequantize(
        table.weight[picked],
        scales=scales[picked],
        biases=None if biases is None else biases[picked],
        group_size=table.group_size,
        bits=table.bits,
        mode=table.mode,
    )
