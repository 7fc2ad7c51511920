"""The one dispatch point of attention: a cache that knows how to attend does, and so do its keys
in a layer that has no cache of its own. On the CPU SwiGLU is replaced, too (`powers`).

mlx-lm's models import both functions by name, so they must be replaced before the models are
imported; modules that are imported already are mended as well.
"""

from __future__ import annotations

import sys
from typing import Any

import mlx.core as mx
from mlx_lm.models import base

from . import powers

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
    if hasattr(cache, "bits"):  # keys and values are quantised
        return _original(queries, keys, values, cache=cache, scale=scale, mask=mask, sinks=sinks)
    return powers.attention(queries, keys, values, scale=scale, mask=mask, sinks=sinks)


def install() -> None:
    """Puts the dispatch in place; may be called again after more models were imported."""
    instead: dict[str, tuple[Any, Any]] = {"scaled_dot_product_attention": (_original, _dispatch)}
    if powers.pay():
        instead["swiglu"] = (powers.theirs, powers.swiglu)
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith("mlx_lm.models."):
            continue
        for name, (theirs, ours) in instead.items():
            if getattr(module, name, None) is theirs:
                vars(module)[name] = ours
