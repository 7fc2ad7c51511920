"""The one dispatch point of attention: a cache that knows how to attend does, and so do its keys
in a layer that has no cache of its own.

mlx-lm's models import `scaled_dot_product_attention` from `mlx_lm.models.base` by name, so it must
be replaced before they are imported; modules that are imported already are mended as well.
"""

from __future__ import annotations

import sys
from typing import Any

import mlx.core as mx
from mlx_lm.models import base

_original = base.scaled_dot_product_attention


def _dispatch(
    queries: mx.array,
    keys: Any,
    values: Any,
    cache: Any,
    scale: float,
    mask: Any,
    sinks: mx.array | None = None,
) -> mx.array:
    attend = getattr(cache, "attend", None) or getattr(keys, "attend", None)
    if attend is not None:
        return attend(queries, keys, values, scale, mask, sinks)
    return _original(queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks)


def install() -> None:
    """Puts the dispatch in place; may be called again after more models were imported."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("mlx_lm.models."):
            continue
        if getattr(module, "scaled_dot_product_attention", None) is _original:
            vars(module)["scaled_dot_product_attention"] = _dispatch
