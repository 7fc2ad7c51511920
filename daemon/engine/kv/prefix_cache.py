"""The hot tier: prefixes that were computed, as arrays in memory, for the next prompt that begins
with them. Holds, restores, counts; what to keep is decided in `eviction`, where in `marks`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import NamedTuple

import mlx.core as mx

from ...protocol.wire import CacheStats
from .bases import Bases
from .cold_tier import ColdTier, Fetched
from .eviction import Candidate, choose
from .marks import MOST_TOKENS, stops
from .merging import Link, join_at, surplus
from .payload import Checkpoint, Span, has_states, restore
from .prefix_tree import Match, Node, PrefixTree, Tokens, mark_of, path_to
from .ragged import LayerCaches, base_of
from .survey import Survey

LEAST_TOKENS = 16  # fewer are not kept and not looked for: they are computed as fast
USED_BYTES = 32 << 20  # of a prefix that is used again, written at a time beside running rows
REMEMBERED = 4096  # evicted nodes, to tell a miss from a loss
CANDIDATES = 512  # at most, that are looked at when room is made
SPARE = 1 / 64  # of the limit that is freed beyond what is needed, so that not every row makes room


class Miss(Enum):
    """Why nothing of a prompt was found."""

    OFF = "off"  # there is no hot tier
    SHORT = "too short"
    NEW = "no common prefix"
    EVICTED = "evicted"
    CHECKPOINT = "no checkpoint"  # it diverged before the first one


class Hit(NamedTuple):
    """What is there for a prompt."""

    match: Match
    node: Node | None  # whose checkpoint is restored, if the model needs one
    length: int  # tokens that need not be computed; 0 is a miss
    miss: Miss | None


SpanOf = Callable[[int, int], Span]  # tokens [start, end) of a row's caches, as views


class PrefixCache:
    """Not thread-safe: everything on the MLX thread.

    `hot_bytes` bounds what it holds; what running rows attend to is never evicted, and counts.
    """

    def __init__(
        self,
        empty: LayerCaches,
        hot_bytes: int,
        *,
        least_tokens: int = LEAST_TOKENS,
        cold: ColdTier | None = None,
    ) -> None:
        self.tree = PrefixTree()
        self.has_states = has_states(empty)
        self.hot_bytes = hot_bytes
        self.least_tokens = least_tokens
        self.cold = cold  # takes what is evicted, and all of it by and by
        self.clock: Callable[[], float] = lambda: 0.0  # tells how long ago something was used
        self._evicted: OrderedDict[int, None] = OrderedDict()
        self.bases = Bases(self.tree)
        self._survey = Survey(self.tree)
        self._misses = dict.fromkeys(Miss, 0)
        self._hits = self._asked_tokens = self._recomputed_tokens = self._evictions = 0
        self._hit_tokens = {"hot": 0, "cold": 0}

    # ---- reading

    def find(self, salt: bytes, tokens: Tokens[int], limit: int) -> Hit:
        """What could be restored of the first `limit` tokens. Counts nothing."""
        if limit < self.least_tokens:
            return Hit(Match([], 0), None, 0, Miss.OFF if not self.hot_bytes else Miss.SHORT)
        match = self.tree.match(salt, tokens)
        node = match.checkpoint(limit) if self.has_states else None
        if self.has_states:
            length = node.end if node is not None else 0
        else:
            length = min(match.length, limit)
        if length >= self.least_tokens:
            return Hit(match, node, length, None)
        return Hit(match, None, 0, self._why(salt, tokens, match))

    def _why(self, salt: bytes, tokens: Tokens[int], match: Match) -> Miss:
        if not self.hot_bytes:
            return Miss.OFF
        if mark_of(salt, tokens[: self._marked(match.length)]) in self._evicted:
            return Miss.EVICTED
        return Miss.CHECKPOINT if match.length >= self.least_tokens else Miss.NEW

    def take(self, hit: Hit, prompt_tokens: int, caches: LayerCaches, cold: int = 0) -> None:
        """Fills empty caches, perhaps over a base, with a hit, and books what was asked and what
        was found, `cold` tokens of it with the help of the cold tier."""
        self._asked_tokens += prompt_tokens
        lost = hit.match.length - hit.length
        if self.has_states and lost >= self.least_tokens:
            self._recomputed_tokens += lost
        if hit.miss is not None:
            self._misses[hit.miss] += 1
            return
        self._hits += 1
        self._hit_tokens["cold"] += cold
        self._hit_tokens["hot"] += hit.length - cold
        now = self.clock()
        path = [node for node in hit.match.path if node.start < hit.length]
        self.tree.touch(Match(path, hit.length), now)
        checkpoint = None
        if hit.node is not None:
            assert isinstance(hit.node.checkpoint, Checkpoint)
            checkpoint = hit.node.checkpoint
            hit.node.checkpoint_used_at = now
        base = base_of(caches)
        first = base.length if base is not None else 0
        spans = [_span(node) for node in path if node.end > first]
        restore(caches, spans, checkpoint, hit.length)
        self._write(path, USED_BYTES)

    # ---- writing

    def put(
        self,
        salt: bytes,
        tokens: Tokens[int],
        span_of: SpanOf,
        checkpoints: Mapping[int, Checkpoint],
        *,
        first: int = 0,
    ) -> None:
        """Keeps what a row has computed of `tokens`, as far as there is room; what is known
        already is not copied again. `checkpoints` are by position; `span_of` knows none before
        `first`."""
        end = len(tokens)
        if self.has_states:
            end = max((position for position in checkpoints if position <= end), default=0)
        if end < self.least_tokens or not self.hot_bytes:
            return
        tokens = tokens[:end]
        checkpoints = {p: c for p, c in checkpoints.items() if self.least_tokens <= p <= end}
        for position in sorted(checkpoints):
            match = self.tree.match(salt, tokens)  # anew: what made room may have been of it
            if position <= match.length:
                node = self.tree.boundary(salt, match, position)
                if not self._keep(node, checkpoints[position]):
                    return
        match = self.tree.match(salt, tokens)
        if match.length == end or match.length < first:
            return
        node = self.tree.boundary(salt, match, match.length)
        for stop in stops(match.length, end, checkpoints):
            known = self._extend(node, tokens[node.end : stop], span_of(node.end, stop).owned())
            if known is None:
                self._prune(node)
                return
            node = known
            if stop in checkpoints and not self._keep(node, checkpoints[stop]):
                return
        self._tidy(node)

    def mark(self, salt: bytes, tokens: Tokens[int]) -> None:
        """What is known of these tokens will be asked for again, a client says."""
        for node in self.tree.match(salt, tokens).path:
            node.marked = True

    def _tidy(self, last: Node) -> None:
        """Along the way to a new node: drops checkpoints that save little, joins small nodes."""
        path = path_to(last)
        for index in surplus([_link(node) for node in path]) if self.has_states else ():
            self.tree.forget(path[index])
        while (index := join_at([_link(node) for node in path], MOST_TOKENS)) is not None:
            path[index : index + 2] = [self.tree.join(path[index])]

    def _extend(self, parent: Node, tokens: Tokens[int], span: Span) -> Node | None:
        """A new node, or None when there is no room for it."""
        self.tree.acquire(parent)
        fits = self._make_room(span.nbytes)
        self.tree.release(parent)
        if not fits:
            return None
        mx.async_eval(span.arrays())
        return self.tree.add(parent, tokens, span, self.clock())

    def _keep(self, node: Node, checkpoint: Checkpoint) -> bool:
        """False when there is no room for it; then the node may be gone."""
        if node.checkpoint is not None:
            node.checkpoint_used_at = self.clock()
            return True
        self.tree.acquire(node)
        fits = self._make_room(checkpoint.nbytes)
        self.tree.release(node)
        if fits:
            mx.async_eval(checkpoint.arrays())
            self.tree.keep(node, checkpoint, self.clock())
        else:
            self._prune(node)
        return fits

    # ---- the cold tier

    def absorb(self, salt: bytes, tokens: Tokens[int], fetched: Fetched) -> None:
        """Keeps what came from the cold tier: the end of the first `fetched.end` tokens."""
        tokens = tokens[: fetched.end]

        def span_of(start: int, end: int) -> Span:
            return fetched.span.slice(start - fetched.start, end - fetched.start)

        # What it goes on from may have been evicted meanwhile: then it is of no use.
        self.put(salt, tokens, span_of, fetched.checkpoints, first=fetched.start)
        for node in self.tree.match(salt, tokens).path:
            node.stored = node.stored or fetched.start <= node.start < node.end <= fetched.end

    def demote(self, most_bytes: int) -> bool:
        """Writes what is not stored yet, parents first, up to about so many bytes. Returns whether
        that was all."""
        return self._write(self.tree.nodes(), most_bytes)

    def _write(self, nodes: Iterable[Node], most_bytes: int) -> bool:
        for node in nodes:
            if node.stored:
                continue
            if most_bytes <= 0:
                return False
            most_bytes -= node.nbytes
            if not self._demote(node):
                return False
        return True

    def _demote(self, node: Node) -> bool:
        if self.cold is not None and not node.stored:
            node.stored = self.cold.write(self.tree.salt_of(node), node)
        return node.stored

    def forget_stored(self) -> None:
        """The cold tier was cleared."""
        for node in self.tree.nodes():
            node.stored = False

    # ---- limits

    def resize(self, hot_bytes: int) -> None:
        """Another limit from now on."""
        self.hot_bytes = hot_bytes
        self._make_room(0)

    def trim(self) -> None:
        """Keeps to the limit again when what stood above it, being in use, no longer is."""
        if self.tree.nbytes > self.hot_bytes:
            self._make_room(0)

    def clear(self) -> None:
        """Drops all that nobody uses, and does not demote it."""
        limit, self.hot_bytes = self.hot_bytes, 0
        cold, self.cold = self.cold, None
        self._make_room(0)
        self.hot_bytes, self.cold = limit, cold
        self._evicted.clear()

    def _make_room(self, nbytes: int) -> bool:
        """Evicts until so many bytes more fit. False when they cannot; then some may be gone."""
        while (missing := self.tree.nbytes + nbytes - self.hot_bytes) > 0:
            if nbytes > self.hot_bytes:
                return False
            chosen = choose(self._candidates(), missing, int(self.hot_bytes * SPARE))
            if not chosen:
                return False
            for node in chosen:
                self._evict(node)
        return True

    def _candidates(self) -> list[Candidate[Node]]:
        """Of what nobody used for longest, what may go: nodes at the ends, and checkpoints on the
        way, which save less. Not of all, as the rows that run would wait for that."""
        now = self.clock()
        found: list[Candidate[Node]] = []
        for node in self.tree.by_use():
            if len(found) == CANDIDATES:
                break
            if node.users:
                continue
            if not node.children:
                tokens = self._saved(node) if self.has_states else len(node.tokens)
                age = now - node.used_at
                found.append(Candidate(node, tokens, node.nbytes, age, node.marked))
            elif node.checkpoint is not None:
                age = now - node.checkpoint_used_at
                nbytes = node.checkpoint.nbytes
                found.append(Candidate(node, self._saved(node), nbytes, age, node.marked))
        return found

    def _saved(self, node: Node) -> int:
        """Tokens from the checkpoint before this one to this one."""
        before = node.parent
        while before is not None and before.checkpoint is None:
            before = before.parent
        return node.end - (before.end if before is not None else 0)

    def _evict(self, node: Node) -> None:
        self._evictions += 1
        self._demote(node)
        self.tree.forget(node)
        if self.has_states:
            self._prune(node)
        else:
            self._remember(node)
            self.tree.remove(node)

    def _prune(self, node: Node) -> None:
        """What leads to no checkpoint any more is of no use."""
        while self.has_states and node.parent is not None:
            if node.children or node.users or node.checkpoint is not None:
                return
            self._remember(node)
            parent = node.parent
            self.tree.remove(node)
            node = parent

    def _remember(self, node: Node) -> None:
        """So that a prompt that would have gone on here is known as one that lost something."""
        path = path_to(node)
        at = self._marked(node.start)
        if at > node.end:
            return
        tokens = Tokens("i")
        for member in path:
            tokens += member.tokens
        self._evicted[mark_of(self.tree.salt_of(node), tokens[:at])] = None
        if len(self._evicted) > REMEMBERED:
            self._evicted.popitem(last=False)

    def _marked(self, position: int) -> int:
        """The next multiple of the least tokens: enough to tell prompts apart."""
        return position - position % self.least_tokens + self.least_tokens

    # ---- books

    @property
    def nbytes(self) -> int:
        return self.tree.nbytes

    def stats(self) -> CacheStats:
        return CacheStats(
            hot_bytes=self.tree.nbytes,
            hot_limit_bytes=self.hot_bytes,
            nodes=len(self.tree),
            hits=self._hits,
            hit_tokens=dict(self._hit_tokens),
            asked_tokens=self._asked_tokens,
            misses={miss.value: count for miss, count in self._misses.items() if count},
            evictions=self._evictions,
            recomputed_tokens=self._recomputed_tokens,
            prefixes=self._survey.look(),
            cold=self.cold.store.stats() if self.cold is not None else None,
        )

    def check(self) -> None:
        """Asserts that the books balance."""
        self.trim()  # a base may have been let go since the last step
        self.tree.check()
        assert self.tree.nbytes <= self.hot_bytes or any(n.users for n in self.tree.nodes())
        for node in self.tree.nodes():
            span = _span(node)
            lengths = {part.shape[2] for part in span.arrays()}
            assert lengths <= {len(node.tokens)}, "a node's arrays are not as long as its tokens"
            if self.has_states:
                useful = node.checkpoint is not None or node.children or node.users
                assert useful, "a node leads to no checkpoint"


def _span(node: Node) -> Span:
    assert isinstance(node.span, Span)
    return node.span


def _link(node: Node) -> Link:
    return Link(
        node.end,
        len(node.tokens),
        bool(node.users),
        len(node.children),
        node.checkpoint is not None,
    )
