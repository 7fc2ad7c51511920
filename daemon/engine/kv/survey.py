"""The most used prefixes with all that goes on from each, as a page shows them.

A large tree is gone through a piece at a time: counted in one go, some ten thousand nodes would
hold up all rows for tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest
from itertools import islice

from ...protocol.wire import CachedPrefix
from .prefix_tree import Node, PrefixTree

TOP = 10  # prefixes that are shown
PREVIEW = 48  # tokens of each
AT_ONCE = 512  # nodes


class Survey:
    """Of one tree."""

    def __init__(self, tree: PrefixTree) -> None:
        self._tree = tree
        self._shown: list[CachedPrefix] = []
        self._rounds = self._count()

    def look(self) -> list[CachedPrefix]:
        """The most used first: as they are, or as they were when all had last been counted."""
        any(islice(self._rounds, AT_ONCE))
        return self._shown

    def _count(self) -> Iterator[bool]:
        """Again and again, a node at a time; whether that was the last."""
        while True:
            tops = nlargest(TOP, self._tree.tops(), key=lambda node: (node.hits, node.used_at))
            shown: list[CachedPrefix] = []
            for top in tops:
                tokens = nbytes = 0
                stack: list[Node] = [top]
                while stack:
                    node = stack.pop()
                    tokens, nbytes = max(tokens, node.end), nbytes + node.nbytes
                    stack += node.children.values()
                    yield False
                preview = top.tokens[:PREVIEW].tolist()
                shown.append(CachedPrefix(tokens, nbytes, top.hits, preview))
            self._shown = shown
            yield True
