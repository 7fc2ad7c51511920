"""SwiGLU and attention for MLX's CPU backend, where a power of two costs a third of a power of e.

Of the time in which that backend computes a prompt, exponentials take nearly half. What is
computed is the same, to the last bits of float32; everything else is left to MLX.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import Any

import mlx.core as mx
from mlx_lm.models import activations

from . import device

_LOG2_E = math.log2(math.e)
# So few scores are computed faster by MLX's own operation than by several.
LEAST_SCORES = 1 << 14

theirs = activations.swiglu  # mlx-lm's, which it computes as one operation


@cache
def pay() -> bool:
    """Whether this process computes on the CPU."""
    return device.is_cpu()


@partial(mx.compile, shapeless=True)
def _swiglu(gate: mx.array, x: mx.array) -> mx.array:
    return gate / (1 + mx.power(2.0, gate * -_LOG2_E)) * x


def swiglu(gate: mx.array, x: mx.array) -> mx.array:
    """As mlx-lm's function of that name: silu(gate) * x."""
    return _swiglu(gate, x) if gate.dtype == mx.float32 else theirs(gate, x)


def attention(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *,
    scale: float,
    mask: Any = None,
    sinks: mx.array | None = None,
) -> mx.array:
    """As `mx.fast.scaled_dot_product_attention`: queries [rows, heads, tokens, dim], keys and
    values [rows, kv heads, columns, dim], `mask` None, "causal" or an array."""
    rows, heads, tokens, _ = queries.shape
    kv_heads, columns = keys.shape[1:3]
    many = rows * heads * tokens * columns >= LEAST_SCORES
    wide = queries.dtype == keys.dtype == values.dtype == mx.float32
    if not (many and wide and sinks is None and _is_plain(mask) and pay()):
        return mx.fast.scaled_dot_product_attention(
            queries, keys, values, scale=scale, mask=mask, sinks=sinks
        )
    if isinstance(mask, str):
        mask = mx.arange(columns) <= mx.arange(columns - tokens, columns)[:, None]
    grouped = queries * (scale * _LOG2_E)
    if heads != kv_heads:
        grouped = grouped.reshape(rows, kv_heads, heads // kv_heads, tokens, -1)
        keys, values = keys[:, :, None], values[:, :, None]
        mask = mask[:, :, None] if mask is not None and mask.ndim == 4 else mask
    scores = grouped @ keys.swapaxes(-1, -2)
    if mask is not None:
        # Not infinity: a token of padding sees nothing, and must not become "not a number".
        scores = mx.where(mask, scores, mx.finfo(mx.float32).min)
    weights = mx.power(2.0, scores - mx.max(scores, axis=-1, keepdims=True))
    out = (weights @ values) / mx.sum(weights, axis=-1, keepdims=True)
    return out.reshape(rows, heads, tokens, -1)


def _is_plain(mask: Any) -> bool:
    """None, "causal", or one that is the same for all heads."""
    if mask is None or isinstance(mask, str):
        return True
    return mask.dtype == mx.bool_ and (mask.ndim == 2 or (mask.ndim == 4 and mask.shape[1] == 1))
