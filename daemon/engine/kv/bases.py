"""The bases that are in use: which prefix of the tree rows attend to together."""

from __future__ import annotations

import weakref
from weakref import WeakValueDictionary

from .base import Base
from .payload import Span
from .prefix_tree import PrefixTree, Tokens, mark_of, path_to

LEAST_BASE = 512  # tokens: below, a copy for each row costs less than two parts of attention
MOST_SPANS = 32  # of a base: each is computed with by itself


class Bases:
    """While a base lives, the nodes that it stands for are not evicted."""

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        self._bases: WeakValueDictionary[tuple[bytes, int], Base] = WeakValueDictionary()

    def find(self, salt: bytes, tokens: Tokens[int], limit: int, shared: int) -> Base | None:
        """A base for a row that goes on from the first `limit` tokens: the longest that is in use,
        or else a new one of the `shared` tokens, which others will go on from, too. Of a prefix in
        very many pieces it is the beginning."""
        found = [
            base
            for (of, mark), base in self._bases.items()
            if of == salt and base.length <= limit and mark == mark_of(salt, tokens[: base.length])
        ]
        if found:
            return max(found, key=lambda base: base.length)
        match = self._tree.match(salt, tokens[:shared])
        if not LEAST_BASE <= shared <= min(limit, match.length):
            return None
        path = path_to(self._tree.boundary(salt, match, shared))[:MOST_SPANS]
        node = path[-1]
        if node.end < LEAST_BASE:
            return None
        spans = [member.span for member in path if isinstance(member.span, Span)]
        layers = zip(*(span.pairs for span in spans), strict=True)
        base = Base(node.end, [[pair for pair in layer if pair is not None] for layer in layers])
        self._tree.acquire(node)
        weakref.finalize(base, self._tree.release, node)
        self._bases[salt, mark_of(salt, tokens[: node.end])] = base
        return base
