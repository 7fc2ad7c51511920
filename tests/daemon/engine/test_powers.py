"""What is computed with powers of two is what MLX computes with those of e."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest
from fastmlx.daemon.engine import powers
from mlx_lm.models import activations


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few scores, too, and on any device."""
    monkeypatch.setattr(powers, "LEAST_SCORES", 0)
    monkeypatch.setattr(powers, "pay", lambda: True)


def masks(tokens: int, columns: int) -> dict[str, Any]:
    padded = mx.arange(columns) >= mx.array([0, 3, columns])[:, None, None, None]
    return {
        "none": None,
        "causal": "causal",
        "of all rows": mx.arange(columns) < mx.arange(1, tokens + 1)[:, None],
        "with a row that sees nothing": mx.broadcast_to(padded, (3, 1, tokens, columns)),
    }


@pytest.mark.parametrize("mask", masks(1, 1))
@pytest.mark.parametrize("kv_heads", [2, 6])
@pytest.mark.parametrize("tokens", [1, 5])
def test_attention_is_that_of_mlx(mask: str, kv_heads: int, tokens: int) -> None:
    mx.random.seed(3)
    columns = 9
    queries = 3 * mx.random.normal((3, 6, tokens, 8))
    keys = 3 * mx.random.normal((3, kv_heads, columns, 8))
    values = mx.random.normal((3, kv_heads, columns, 4))
    seen = masks(tokens, columns)[mask]
    want = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=0.4, mask=seen)
    got = powers.attention(queries, keys, values, scale=0.4, mask=seen)
    assert got.shape == want.shape
    assert mx.allclose(got, want, atol=1e-5).item()


def test_swiglu_is_that_of_mlx_lm_from_one_end_to_the_other() -> None:
    gate = mx.array([-1e30, -100.0, -9.0, -1e-4, 0.0, 1e-4, 9.0, 100.0, 1e30])
    x = mx.full(gate.shape, 1.5)
    assert mx.allclose(powers.swiglu(gate, x), activations.swiglu(gate, x)).item()
    assert powers.swiglu(gate.astype(mx.bfloat16), x.astype(mx.bfloat16)).dtype == mx.bfloat16
