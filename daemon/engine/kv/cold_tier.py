"""Between the hot tier's nodes, which end anywhere, and the cold tier's blocks, which do not.

    node         |-------- parent --------|------- node -------|
    blocks   |  written with the parent  |  written with node  | not whole yet

A block is written with the node in which it ends, whose ancestors are always there. Restoring reads
the blocks beyond what is hot, and where states cannot be cut the deepest checkpoint within them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .blobs import block_blob, checkpoint_blob, checkpoint_from, span_from
from .cold.store import ColdStore
from .cold.ticket import Ticket
from .hashes import BlockHash, block_hashes, position_hash
from .payload import Checkpoint, Span, joined
from .prefix_tree import Node, Tokens, path_to

BLOCK = 128  # tokens


class Fetch(NamedTuple):
    """A part of a prompt on its way from the cold tier."""

    ticket: Ticket
    start: int  # tokens before the first block that is read
    end: int  # tokens that are there when all came
    checkpoint: bool  # whether the last blob is one


class Fetched(NamedTuple):
    start: int
    end: int
    span: Span  # of tokens [start, end)
    checkpoints: dict[int, Checkpoint]


class ColdTier:
    """Writes nodes to a store and finds prompts in it. `model` is the name in the store's books;
    without `spans` the model's caches are all checkpoints, and there are no blocks."""

    def __init__(
        self, store: ColdStore, model: str, *, spans: bool = True, block: int = BLOCK
    ) -> None:
        self.store = store
        self._model = model
        self._spans = spans
        self._block = block

    # ---- writing

    def write(self, salt: bytes, node: Node) -> bool:
        """Queues what the node adds. False when the queue is full or the tier is off."""
        path = path_to(node)
        tokens = Tokens("i")
        for member in path:
            tokens += member.tokens
        hashes = block_hashes(salt, tokens, self._block)
        for number in range(node.start // self._block, len(hashes) if self._spans else 0):
            start = number * self._block
            if self.store.lookup(hashes[number : number + 1]):
                continue
            span = _cut(path, start, start + self._block)
            blob = block_blob(self._model, start + self._block, span)
            if not self.store.write(hashes[number], blob):
                return False
        if not isinstance(node.checkpoint, Checkpoint):
            return True
        name = position_hash(salt, tokens, node.end, self._block, hashes)
        if self.store.sizes([name])[0] is not None:
            return True
        start = len(hashes) * self._block
        rest = _cut(path, start, node.end) if self._spans and start < node.end else None
        return self.store.write(name, checkpoint_blob(self._model, node.end, node.checkpoint, rest))

    # ---- reading

    def touch(self, salt: bytes, tokens: Tokens[int]) -> None:
        """These tokens were taken up from memory: what is stored of them is in use, too, and shall
        not be evicted before what was written after it."""
        if self._spans:
            self.store.touch(block_hashes(salt, tokens, self._block))

    def find(
        self, salt: bytes, tokens: Tokens[int], known: int, hit: int, at: Sequence[int] | None
    ) -> Fetch | None:
        """Begins to read what helps beyond the `hit` tokens that can be restored already, `known`
        of which are hot. With `at` only checkpoints help, which are looked for at these positions
        and about the end of what is stored."""
        hashes = block_hashes(salt, tokens, self._block)
        stored = self.store.lookup(hashes) if self._spans else len(hashes)
        if at is None:
            end, last = stored * self._block, stored
            name = None
        else:
            found = self._deepest(salt, tokens, hashes, hit, stored, at)
            if found is None:
                return None
            end, name = found
            last = end // self._block
        if end < hit + self._block:
            return None
        first = min(known, end) // self._block if self._spans else last
        wanted: list[BlockHash] = [*hashes[first:last], *([name] if name is not None else [])]
        start = first * self._block if self._spans else 0
        return Fetch(self.store.read(wanted), start, end, name is not None)

    def _deepest(
        self,
        salt: bytes,
        tokens: Tokens[int],
        hashes: list[BlockHash],
        hit: int,
        stored: int,
        at: Sequence[int],
    ) -> tuple[int, BlockHash] | None:
        # An answer ends where no template tells: within the last block that is known, or after it.
        last = range((stored - 1) * self._block, (stored + 1) * self._block)
        reach = min(len(tokens), last.stop)
        positions = sorted({p for p in (*at, *last) if hit < p <= reach})
        names = [position_hash(salt, tokens, p, self._block, hashes) for p in positions]
        sizes = self.store.sizes(names)
        there = [(p, n) for p, n, size in zip(positions, names, sizes, strict=True) if size]
        return max(there, default=None)

    def take(self, fetch: Fetch) -> Fetched | None:
        """What came of a fetch that is done."""
        blobs = fetch.ticket.result()
        checkpoints: dict[int, Checkpoint] = {}
        end = fetch.end
        if fetch.checkpoint:
            if len(blobs) < len(fetch.ticket.blocks):
                return None  # without its state the rest is of no use
            checkpoints[end] = checkpoint_from(blobs[-1])
        else:
            end = fetch.start + len(blobs) * self._block
        spans = [span for span in map(span_from, blobs) if span is not None]
        span = joined(spans) if spans else Span([])
        return Fetched(fetch.start, end, span, checkpoints) if blobs else None


def _cut(path: list[Node], start: int, end: int) -> Span:
    """Tokens [start, end) of the path."""
    parts: list[Span] = []
    for node in path:
        if node.end <= start or node.start >= end:
            continue
        assert isinstance(node.span, Span)
        parts.append(node.span.slice(max(start - node.start, 0), min(end, node.end) - node.start))
    return joined(parts)
