"""What the prefix cache keeps of a row's caches, and how a row takes it up again.

Two kinds of cache. Sliceable ones (KVCache: full attention, the parts of latent attention) hold one
column a token and may be cut anywhere: a `Span`. All others (rotating windows, recurrent states,
chunks) are only right at the position where they are: a `Checkpoint`, the whole of them.

Arrays in here are never written to: a row that goes on from them has array objects of its own,
which MLX copies on the first write. Each span and checkpoint owns its bytes, so that `nbytes` is
what is freed when it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models.cache import KVCache, RotatingKVCache

from .base import TailCache
from .ragged import LayerCaches, leaves

Pair = tuple[mx.array, mx.array]  # keys and values [1, heads, tokens, dim]; dims may differ

ROOM = 256  # tokens that a restored cache may grow by before it is laid out anew


def sliceable(leaf: Any) -> bool:
    return type(leaf) in (KVCache, TailCache)


class Span:
    """Keys and values of some consecutive tokens: a pair for each sliceable cache, None where the
    layer keeps nothing."""

    def __init__(self, pairs: Sequence[Pair | None]) -> None:
        self.pairs = tuple(pairs)
        self.nbytes = sum(part.nbytes for pair in self.pairs if pair for part in pair)

    def split(self, at: int) -> tuple[Span, Span]:
        """The first `at` tokens and the rest, copied."""
        first, rest = self.slice(0, at), self.slice(at, None)
        first, rest = first.owned(), rest.owned()
        mx.async_eval(first.arrays(), rest.arrays())
        return first, rest

    def join(self, after: Span) -> Span:
        """This and what comes `after` it, copied."""
        whole = joined([self, after])
        mx.async_eval(whole.arrays())
        return whole

    def slice(self, start: int, end: int | None) -> Span:
        """Views of tokens [start, end); the bytes remain those of the whole."""
        return Span([pair and tuple(a[..., start:end, :] for a in pair) for pair in self.pairs])  # type: ignore[misc]

    def owned(self) -> Span:
        """A copy that holds no more memory than it shows."""
        return Span([pair and tuple(mx.contiguous(a) for a in pair) for pair in self.pairs])  # type: ignore[misc]

    def arrays(self) -> list[mx.array]:
        return [part for pair in self.pairs if pair for part in pair]


def joined(spans: Sequence[Span]) -> Span:
    """Consecutive spans as one."""
    if len(spans) == 1:
        return spans[0]
    pairs: list[Pair | None] = []
    for layer in zip(*(span.pairs for span in spans), strict=True):
        held = [pair for pair in layer if pair is not None]
        if not held:
            pairs.append(None)
            continue
        keys, values = (mx.concatenate([pair[part] for pair in held], axis=2) for part in (0, 1))
        pairs.append((keys, values))
    return Span(pairs)


class Checkpoint:
    """The whole of each cache that cannot be cut: mlx-lm's `state` of it."""

    def __init__(self, states: Sequence[Any]) -> None:
        self.states = tuple(states)
        self.nbytes = sum(array.nbytes for array in self.arrays())

    def arrays(self) -> list[mx.array]:
        flat: Any = tree_flatten(list(self.states))
        return [leaf for _, leaf in flat if isinstance(leaf, mx.array)]


def has_states(empty: LayerCaches) -> bool:
    """Whether caches of this kind can only be taken up at a checkpoint."""
    return not all(sliceable(leaf) for leaf in leaves(empty))


def has_spans(empty: LayerCaches) -> bool:
    """Whether caches of this kind hold anything that can be cut."""
    return any(sliceable(leaf) for leaf in leaves(empty))


def capture(caches: LayerCaches) -> Checkpoint:
    """The states as they are now. Lazy; evaluate `arrays()`."""
    return Checkpoint([_state(leaf) for leaf in leaves(caches) if not sliceable(leaf)])


def _state(leaf: Any) -> Any:
    if isinstance(leaf, RotatingKVCache) and leaf.keys is not None:
        # In the order of time and no more than the window: a prefill leaves more behind.
        keys, values = leaf._temporal_order(leaf.keys), leaf._temporal_order(leaf.values)
        surplus = keys.shape[2] - leaf.max_size
        if surplus > 0:
            keys, values = leaf._trim(surplus, keys), leaf._trim(surplus, values)
        keys, values = mx.contiguous(keys), mx.contiguous(values)
        return (keys, values, leaf.offset, leaf.keep, leaf.max_size, keys.shape[2])
    return tree_map(_own, leaf.state)


def _own(value: Any) -> Any:
    """Another array object of the same content: writing to one does not change the other."""
    return value[...] if isinstance(value, mx.array) else value


def span_of(caches: LayerCaches, start: int, end: int) -> Span:
    """Tokens [start, end) of a row's own caches, as views; those of a base are not its own."""
    pairs: list[Pair | None] = []
    first = 0
    for leaf in leaves(caches):
        if not sliceable(leaf):
            continue
        own: Any = leaf
        if isinstance(leaf, TailCache):
            first, own = leaf.base.length, leaf.own
        pairs.append((own.keys, own.values) if own.keys is not None else None)
    assert start >= first, "the base is not the row's own"
    return Span(pairs).slice(start - first, end - first)


def restore(
    caches: LayerCaches, spans: Sequence[Span], checkpoint: Checkpoint | None, length: int
) -> None:
    """Fills empty caches with the first `length` tokens of the spans and the checkpoint there. Of
    caches over a base the spans begin after it."""
    number = 0
    states = iter(checkpoint.states if checkpoint is not None else ())
    for leaf in leaves(caches):
        if not sliceable(leaf):
            leaf.state = tree_map(_own, next(states))
            continue
        pairs = [span.pairs[number] for span in spans]
        number += 1
        tokens = length
        if isinstance(leaf, TailCache):
            tokens, leaf = length - leaf.base.length, leaf.own
        if not tokens or any(pair is None for pair in pairs):
            continue
        leaf.keys, leaf.values = (
            _laid_out([pair[part] for pair in pairs if pair], tokens) for part in (0, 1)
        )
        leaf.offset = tokens


def _laid_out(parts: list[mx.array], length: int) -> mx.array:
    """The first `length` tokens of the parts in one array, with room for more."""
    tokens = sum(part.shape[2] for part in parts)
    if tokens > length:
        parts = [*parts[:-1], parts[-1][..., : parts[-1].shape[2] - (tokens - length), :]]
    batch, heads, _, dim = parts[0].shape
    room = ROOM + -length % ROOM
    return mx.concatenate([*parts, mx.zeros((batch, heads, room, dim), parts[0].dtype)], axis=2)
