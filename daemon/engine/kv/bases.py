"""The bases that are in use: which prefix of the tree rows attend to together."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

from .base import Base, Pair
from .payload import Span
from .prefix_tree import Node, PrefixTree, Tokens, mark_of, path_to

LEAST_BASE = 512  # tokens: below, a copy for each row costs less than two parts of attention
MOST_SPANS = 32  # of a base: each is computed with by itself


def worth(base: Base, held: Base | None, length: int) -> bool:
    """Whether a row of `length` tokens that begins with the base, and now goes on from what it has
    `held`, is put over it: that frees much, and no less than is copied."""
    freed = base.length - (held.length if held is not None else 0)
    return freed >= LEAST_BASE and 0 <= length - base.length <= freed


class Bases:
    """While a base lives, the nodes that it stands for are not evicted."""

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        # Each with its salt, the mark of its tokens and its last node.
        self._bases: WeakKeyDictionary[Base, tuple[bytes, int, Node]] = WeakKeyDictionary()

    def find(self, salt: bytes, tokens: Tokens[int], limit: int, shared: int) -> Base | None:
        """A base for a row that goes on from the first `limit` tokens: the longest that is in use,
        or else, if that is much more, a new one of the `shared` tokens, which others have or will
        go on from, too. Of a prefix in very many pieces it is the beginning."""
        found = [
            base
            for base, (of, mark, _) in self._bases.items()
            if of == salt and base.length <= limit and mark == mark_of(salt, tokens[: base.length])
        ]
        longest = max(found, key=lambda base: base.length, default=None)
        least = LEAST_BASE + (longest.length if longest is not None else 0)
        if not least <= shared <= limit:
            return longest
        match = self._tree.match(salt, tokens[:shared])
        if match.length < shared:
            return longest
        path = path_to(self._tree.boundary(salt, match, shared))[:MOST_SPANS]
        node, layers = path[-1], _layers(path)
        if node.end < least or not any(layers):
            return longest
        base = Base(node.end, layers)
        self._tree.acquire(node)
        weakref.finalize(base, self._tree.release, node)
        self._bases[base] = salt, mark_of(salt, tokens[: node.end]), node
        return base

    def __iter__(self) -> Iterator[Base]:
        return iter(list(self._bases))

    def renew(self) -> None:
        """Where nodes were cut, and so copied, bases go on from the copies: held once."""
        for base, (_, _, node) in self._bases.items():
            path = path_to(node)
            pieces = max(map(len, base.layers))
            if pieces < len(path) <= MOST_SPANS:
                base.hold(_layers(path))


def _layers(path: Sequence[Node]) -> list[list[Pair]]:
    """For each cache the pairs along the path."""
    spans = [node.span for node in path if isinstance(node.span, Span)]
    layers = zip(*(span.pairs for span in spans), strict=True)
    return [[pair for pair in layer if pair is not None] for layer in layers]
