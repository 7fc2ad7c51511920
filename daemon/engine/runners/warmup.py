"""The first steps of a fresh model: compiles kernels, measures, and tests that batches are right.

Some of mlx-lm's architectures answer wrongly, or not at all, when rows of different lengths decode
together. So the warm-up decodes two rows alone, in one group and in two; where the answers differ
by more than rounding the runner falls back: groups one after the other, or row by row, and the log
says so. A model that is loaded again is only made ready: what its last engine found out holds.
"""

from __future__ import annotations

import logging
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import ArraysCache

from ...protocol.wire import Warmed
from .. import drawing
from ..kv.groups import SMALL
from ..kv.payload import capture, restore, span_of
from ..kv.ragged import LayerCaches, leaves
from .text import TextRunner

log = logging.getLogger(__name__)

# Share of the logits' standard deviation by which batching may change them. Rounding of half
# precision and quantised weights stays well below; the known wrong answers are above 0.25.
TOLERANCE = 0.2

SHORT = [3, 1, 2]
LONGER = [1, 2, 3, 4, 5, 6, 7]
TWO = [5, 2]  # tokens, of which one is prefilled; of ONE none is
ONE = [4]
LONG = [1 + i % 7 for i in range(SMALL + 9)]  # never in one group with SHORT


_FOUND = ("batches", "together", "pack_limit", "mixes", "starts")  # of a runner's attributes


def warm_up(runner: TextRunner, known: Warmed | None = None) -> Warmed:
    """Runs a few small steps. Sets in the runner what its model can: found out by these steps, or
    as it is `known` of the same model."""
    if known is None:
        known = _found_out(runner)
    else:
        settle(runner, known)
        _decode(runner, [LONGER])  # compiles the kernels of single rows, and those of batches
        if runner.batches:
            _decode(runner, [LONGER, SHORT])
    drawing.warm_up(known.vocab_size)
    return known


def _found_out(runner: TextRunner) -> Warmed:
    states = any(isinstance(leaf, ArraysCache) for leaf in leaves(runner.new_cache()))
    # A state may have another shape, or be none, as long as little went into it.
    few = [TWO, ONE] if states else []
    alone = {len(prompt): _decode(runner, [prompt]) for prompt in (LONGER, SHORT, LONG, *few)}
    vocab_size = alone[len(SHORT)].shape[-1]
    kv_bytes = _kv_bytes_per_token(_prefilled(runner, LONGER))
    restores = _restores(runner, alone[len(LONGER)])
    batching = _batching(runner, alone, few)
    keeping = None if restores else "nothing of a prompt can be kept for the next one"
    note = "; ".join(filter(None, (batching, keeping))) or None
    if note is not None:
        log.info("%s", note)
    return Warmed(
        vocab_size=vocab_size,
        kv_bytes_per_token=kv_bytes,
        restores=restores,
        note=note,
        **{name: getattr(runner, name) for name in _FOUND},
    )


def settle(runner: TextRunner, known: Warmed) -> None:
    """Sets in the runner what was found out about its model."""
    for name in _FOUND:
        setattr(runner, name, getattr(known, name))


def _batching(runner: TextRunner, alone: dict[int, mx.array], few: list[list[int]]) -> str | None:
    """Finds out what may run together; returns what a person should know."""
    if not runner.batches:
        return "the cache of this architecture cannot be batched: requests run one at a time"
    note = None
    if runner.pack_limit:
        short = min(len(LONGER), runner.pack_limit + 1)
        prompts = [LONGER[:short], SHORT]
        alone[short] = _decode(runner, prompts[:1])
        if _fault(runner, alone, prompts, packed=True) is not None:
            runner.pack_limit = 0
    if few and _fault(runner, alone, [LONGER, ONE]) is not None:
        runner.starts = False
    fault = _fault(runner, alone, [LONGER, SHORT, *few])
    runner.mixes = runner.mixes and fault is None and _mixes(runner, alone[len(LONGER)])
    if fault is None and _fault(runner, alone, [LONG, SHORT]) is not None:
        # A chunk beside the rows of several groups would need them together, too.
        runner.together = runner.mixes = False
        note = "requests of different lengths run in groups, one group after the other"
        fault = _fault(runner, alone, [LONG, SHORT])
    if fault is not None:
        runner.batches = False
        note = f"batches of this architecture are wrong ({fault}): requests run one at a time"
    return note


def _fault(
    runner: TextRunner,
    alone: dict[int, mx.array],
    prompts: list[list[int]],
    *,
    packed: bool = False,
) -> str | None:
    """What is wrong with decoding (`packed`: also prefilling) the prompts together, or None."""
    try:
        together = _decode(runner, prompts, packed=packed)
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        runner.reset()
        return (str(error) or type(error).__name__).splitlines()[0]
    expected = mx.concatenate([alone[len(prompt)] for prompt in prompts])
    return None if _agree(runner, together, expected) else "they differ from single rows"


def _mixes(runner: TextRunner, expected: mx.array) -> bool:
    """Whether a prompt that is computed beside a decode step answers as if alone."""
    runner.join([(_prefilled(runner, SHORT), len(SHORT) - 1)])
    cache = runner.new_cache()
    try:
        for start, end in ((0, 4), (4, len(LONGER) - 1)):
            runner.decode_beside(mx.array([1]), cache, LONGER[start:end], start)
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError):
        return False
    finally:
        runner.reset()
    runner.join([(cache, len(LONGER) - 1)])
    logits = _two_steps(runner, [LONGER], [0])
    return _agree(runner, logits, expected)


def _restores(runner: TextRunner, expected: mx.array) -> bool:
    """Whether a prompt that goes on from what was kept of another answers as if alone."""
    half, end = 4, len(LONGER) - 1
    first, second = _prefilled(runner, LONGER[: half + 1]), runner.new_cache()
    try:
        checkpoint = capture(first)
        span = span_of(first, 0, half).owned()
        runner.prefill(first, LONGER[::-1])  # what was kept must not change with it
        restore(second, [span], checkpoint, half)
        runner.prefill(second, LONGER[half:end])
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError, NotImplementedError):
        return False
    runner.join([(second, end)])
    return _agree(runner, _two_steps(runner, [LONGER], [0]), expected)


def _agree(runner: TextRunner, logits: mx.array, expected: mx.array) -> bool:
    # Some models give tokens that must not be chosen a logit of minus infinity.
    chosen = mx.isfinite(expected)
    error = mx.max(mx.abs(mx.where(logits == expected, 0.0, logits - expected)))
    mean = mx.sum(mx.where(chosen, expected, 0.0)) / mx.sum(chosen)
    variance = mx.sum(mx.where(chosen, mx.square(expected - mean), 0.0)) / mx.sum(chosen)
    agree = bool((error <= TOLERANCE * mx.sqrt(variance)).item())
    return bool(runner.lockstep.agree(agree))


def _prefilled(runner: TextRunner, prompt: list[int]) -> LayerCaches:
    cache = runner.new_cache()
    if len(prompt) > 1:
        runner.prefill(cache, prompt[:-1])
    return cache


def _decode(runner: TextRunner, prompts: list[list[int]], *, packed: bool = False) -> mx.array:
    """Logits [rows, vocabulary] of the second of two decode steps, in the order of the prompts."""
    if packed:
        caches = [runner.new_cache() for _ in prompts]
        runner.prefill_packed(caches, [prompt[:-1] for prompt in prompts])
    else:
        caches = [_prefilled(runner, prompt) for prompt in prompts]
    lengths = [len(prompt) - 1 for prompt in prompts]
    order = runner.join(list(zip(caches, lengths, strict=True)))
    return _two_steps(runner, prompts, order)


def _two_steps(runner: TextRunner, prompts: list[list[int]], order: list[int]) -> mx.array:
    runner.decode(mx.array([prompts[row][-1] for row in order]))
    logits = runner.decode(mx.array([1] * len(prompts))).astype(mx.float32)
    mx.eval(logits)
    runner.reset()
    return logits[mx.array([order.index(row) for row in range(len(prompts))])]


def _kv_bytes_per_token(caches: LayerCaches) -> int:
    """Bytes that one more token costs in the caches that grow without bound."""
    return sum(_growth(cache) for cache in leaves(caches))


def _growth(cache: Any) -> int:
    keys, values = getattr(cache, "keys", None), getattr(cache, "values", None)
    bounded = hasattr(cache, "max_size") or hasattr(cache, "chunk_size")
    if bounded or not isinstance(keys, mx.array) or not isinstance(values, mx.array):
        return 0
    return (keys.nbytes + values.nbytes) // keys.shape[2]
