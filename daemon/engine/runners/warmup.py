"""The first steps of a fresh model: compiles kernels, measures, and tests that batches are right.

mlx-lm 0.32.2 ships architectures whose caches offer `merge` but answer wrongly for padded rows
(seen: nemotron_h, mamba). So the warm-up decodes two rows of different lengths alone and
together; where the answers differ by more than rounding, the model runs one row at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.core as mx

from ..kv.batch_cache import LayerCaches
from .text import TextRunner

# Share of the logits' standard deviation by which batching may change them. Rounding of half
# precision and quantised weights stays well below; the known wrong answers are above 0.25.
TOLERANCE = 0.2


class Warmed(NamedTuple):
    vocab_size: int  # of the logits
    kv_bytes_per_token: int
    batches: bool
    note: str | None


def warm_up(runner: TextRunner) -> Warmed:
    """Runs a few tiny steps. Sets `runner.batches` to False when batches answer wrongly."""
    prompts = ([1, 2, 3, 4, 5, 6, 7], [3, 1, 2])
    alone = [_decode(runner, [prompt]) for prompt in prompts]
    vocab_size = alone[0].shape[-1]
    kv_bytes = _kv_bytes_per_token(_prefilled(runner, prompts[0]))
    if not runner.batches:
        note = "this architecture's cache cannot be batched: requests run one at a time"
        return Warmed(vocab_size, kv_bytes, False, note)
    expected = mx.concatenate(alone)
    error = mx.max(mx.abs(_decode(runner, list(prompts)) - expected))
    allowed = TOLERANCE * mx.std(expected)
    if bool((error <= allowed).item()):
        return Warmed(vocab_size, kv_bytes, True, None)
    runner.batches = False
    note = "mlx-lm answers wrongly for batches of this architecture: requests run one at a time"
    return Warmed(vocab_size, kv_bytes, False, note)


def _prefilled(runner: TextRunner, prompt: list[int]) -> LayerCaches:
    cache = runner.new_cache()
    runner.prefill(cache, prompt[:-1])
    return cache


def _decode(runner: TextRunner, prompts: list[list[int]]) -> mx.array:
    """Logits [rows, vocabulary] of two decode steps' second, the rows joined into one batch."""
    runner.join([_prefilled(runner, prompt) for prompt in prompts])
    runner.decode(mx.array([prompt[-1] for prompt in prompts]))
    logits = runner.decode(mx.array([1] * len(prompts))).astype(mx.float32)
    mx.eval(logits)
    runner.keep([])
    return logits


def _kv_bytes_per_token(caches: LayerCaches) -> int:
    """Bytes that one more token costs in the caches that grow without bound."""
    return sum(_growth(cache) for cache in caches)


def _growth(cache: Any) -> int:
    parts = getattr(cache, "caches", None)
    if parts is not None:
        return sum(_growth(part) for part in parts)
    keys, values = getattr(cache, "keys", None), getattr(cache, "values", None)
    bounded = hasattr(cache, "max_size") or hasattr(cache, "chunk_size")
    if bounded or not isinstance(keys, mx.array) or not isinstance(values, mx.array):
        return 0
    return (keys.nbytes + values.nbytes) // keys.shape[2]
