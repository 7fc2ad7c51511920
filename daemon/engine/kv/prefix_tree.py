"""Which token prefixes are kept, as a radix tree. Pure bookkeeping: tokens, sizes and times.

A node stands for the tokens [start, end) of every path through it. It carries a span (what the
sliceable caches hold of just these tokens) and perhaps a checkpoint (what the caches that cannot be
cut hold at `end`):

    salt ── [0 ─ system, tools ─ 812)c ──┬── [812 ─ first question, answer ─ 1490)c
                                         └── [812 ─ another question ─ 960)c

Prefixes of different salts (weights, adapter, codec) never meet. Times are those of any clock
that the caller keeps to.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

Tokens = array  # of "i": compact, compared in C


def tokens_of(ids: list[int]) -> Tokens[int]:
    return array("i", ids)


class Sized(Protocol):
    """What a checkpoint must tell."""

    @property
    def nbytes(self) -> int: ...


class Cuttable(Sized, Protocol):
    """What a span must tell, and how it becomes two."""

    def split(self, at: int) -> tuple[Cuttable, Cuttable]:
        """The first `at` tokens and the rest; each owns its bytes."""
        ...

    def join(self, after: Any) -> Cuttable:
        """This and the span of the same kind `after` it as one, which owns its bytes."""
        ...


@dataclass(eq=False, slots=True)
class Node:
    tokens: Tokens[int]
    start: int  # tokens before them
    parent: Node | None
    span: Cuttable | None = None  # None only in a salt's root
    checkpoint: Sized | None = None
    children: dict[int, Node] = field(default_factory=dict)  # by their first token
    users: int = 0  # running rows that attend to this span or to one below
    hits: int = 0
    stored: bool = False  # in the cold tier, too
    marked: bool = False  # a client said that it will ask for it again
    used_at: float = 0.0
    checkpoint_used_at: float = 0.0

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    @property
    def nbytes(self) -> int:
        span = self.span.nbytes if self.span is not None else 0
        return span + (self.checkpoint.nbytes if self.checkpoint is not None else 0)


class Match(NamedTuple):
    """The nodes that a prompt goes through. Of the last one perhaps only the first tokens."""

    path: list[Node]
    length: int  # tokens

    @property
    def end(self) -> int:
        """Tokens up to the end of the last node."""
        return self.path[-1].end if self.path else 0

    def checkpoint(self, limit: int) -> Node | None:
        """The deepest node whose checkpoint lies within the match and within `limit` tokens."""
        reach = min(self.length, limit)
        whole = (node for node in reversed(self.path) if node.end <= reach)
        return next((node for node in whole if node.checkpoint is not None), None)


class PrefixTree:
    """All prefixes. `check` asserts the books: bytes, positions, users."""

    def __init__(self) -> None:
        self._roots: dict[bytes, Node] = {}
        self._by_use: dict[Node, None] = {}  # all but the roots, oldest use first
        self.nbytes = 0

    def __len__(self) -> int:
        """Nodes, without the roots."""
        return len(self._by_use)

    def match(self, salt: bytes, tokens: Tokens[int]) -> Match:
        """The longest known prefix; changes nothing."""
        node = self._roots.get(salt)
        path: list[Node] = []
        length = 0
        while node is not None and length < len(tokens):
            node = node.children.get(tokens[length])
            if node is None:
                break
            path.append(node)
            length += common(node.tokens, tokens, at=length)
            if length < node.end:
                break
        return Match(path, length)

    def boundary(self, salt: bytes, match: Match, at: int) -> Node:
        """The node that ends after `at` tokens of the match, splitting one where needed (the root
        for 0). The match's path is kept right."""
        if not at:
            return self._roots.setdefault(salt, Node(array("i"), 0, None))
        index = next(i for i, node in enumerate(match.path) if node.end >= at)
        node = match.path[index]
        if node.end == at:
            return node
        upper = self._split(node, at - node.start)
        match.path.insert(index, upper)
        return upper

    def _split(self, node: Node, at: int) -> Node:
        """Cuts the node; it keeps its later tokens, and the new node before it is returned."""
        assert node.parent is not None
        assert node.span is not None
        self.nbytes -= node.nbytes
        first, rest = node.span.split(at)
        upper = Node(
            tokens=node.tokens[:at],
            start=node.start,
            parent=node.parent,
            span=first,
            users=node.users,
            hits=node.hits,
            stored=node.stored,
            marked=node.marked,
            used_at=node.used_at,
        )
        node.parent.children[node.tokens[0]] = upper
        node.tokens, node.span = node.tokens[at:], rest
        node.start += at
        node.parent = upper
        upper.children[node.tokens[0]] = node
        self._by_use[upper] = None
        self.nbytes += upper.nbytes + node.nbytes
        return upper

    def join(self, upper: Node) -> Node:
        """A node that nobody uses and that has no checkpoint becomes one with its only child, which
        is kept and returned."""
        (node,) = upper.children.values()
        assert upper.parent is not None
        assert upper.span is not None
        assert node.span is not None
        assert upper.checkpoint is None
        assert not upper.users
        assert not node.users
        self.nbytes -= upper.nbytes + node.nbytes
        node.span = upper.span.join(node.span)
        node.tokens, node.start = upper.tokens + node.tokens, upper.start
        node.parent = upper.parent
        node.parent.children[node.tokens[0]] = node
        node.hits, node.used_at = max(upper.hits, node.hits), max(upper.used_at, node.used_at)
        node.stored = upper.stored and node.stored
        node.marked = upper.marked or node.marked
        upper.parent = None
        del self._by_use[upper]
        self.nbytes += node.nbytes
        return node

    def add(self, parent: Node, tokens: Tokens[int], span: Cuttable, now: float) -> Node:
        """A new node below `parent`, which has no child that begins with the same token."""
        assert tokens[0] not in parent.children
        node = Node(tokens, parent.end, parent, span, used_at=now, checkpoint_used_at=now)
        parent.children[tokens[0]] = node
        self._by_use[node] = None
        self.nbytes += node.nbytes
        return node

    def keep(self, node: Node, checkpoint: Sized, now: float) -> None:
        """The node gets a checkpoint, in place of one that it may have."""
        self.forget(node)
        node.checkpoint, node.stored = checkpoint, False
        node.checkpoint_used_at = now
        self.nbytes += checkpoint.nbytes

    def forget(self, node: Node) -> None:
        """The node's checkpoint goes."""
        if node.checkpoint is not None:
            self.nbytes -= node.checkpoint.nbytes
            node.checkpoint = None

    def remove(self, node: Node) -> None:
        """A node without children and users goes."""
        assert node.parent is not None
        assert not node.children
        assert not node.users
        del node.parent.children[node.tokens[0]]
        del self._by_use[node]
        self.nbytes -= node.nbytes
        node.parent = None

    def touch(self, match: Match, now: float) -> None:
        """The match was of use."""
        for node in match.path:
            node.used_at = now
            node.hits += 1
            del self._by_use[node]
            self._by_use[node] = None

    def acquire(self, node: Node) -> None:
        """Somebody attends to all tokens up to the node's end: they stay until released."""
        for member in path_to(node):
            member.users += 1

    def release(self, node: Node) -> None:
        for member in path_to(node):
            assert member.users > 0
            member.users -= 1

    def nodes(self) -> Iterator[Node]:
        """All nodes but the roots; parents before their children."""
        stack = list(self.tops())
        while stack:
            node = stack.pop()
            yield node
            stack += node.children.values()

    def by_use(self) -> Iterator[Node]:
        """The same, the oldest use first; a node that was cut off another counts as used then."""
        return iter(self._by_use)

    def tops(self) -> Iterator[Node]:
        """Those that prefixes begin with."""
        return (child for root in self._roots.values() for child in root.children.values())

    def salt_of(self, node: Node) -> bytes:
        """The salt below whose root the node lies."""
        root = path_to(node)[0].parent
        return next(salt for salt, member in self._roots.items() if member is root)

    def check(self) -> None:
        """Asserts the invariants; used by tests and when the engine turns idle."""
        total = count = 0
        for node in self.nodes():
            count += 1
            assert node in self._by_use, "a node can never go"
            parent = node.parent
            assert parent is not None, "a node has no parent"
            assert node.tokens, "a node has no tokens"
            assert parent.children[node.tokens[0]] is node, "a node is not its parent's child"
            assert node.start == parent.end, "a node does not begin where its parent ends"
            assert node.span is not None, "a node has no span"
            assert node.users >= sum(child.users for child in node.children.values())
            total += node.nbytes
        assert count == len(self), "a node that is gone is counted"
        assert total == self.nbytes, "the tree's bytes are not those of its nodes"


def path_to(node: Node) -> list[Node]:
    """The nodes from the first one below the root to this one."""
    path: list[Node] = []
    member: Node | None = node
    while member is not None and member.parent is not None:
        path.append(member)
        member = member.parent
    return path[::-1]


def mark_of(salt: bytes, tokens: Tokens[int]) -> int:
    """Tells prefixes apart."""
    return hash((salt, tokens.tobytes()))


def common(a: Tokens[int] | list[int], b: Tokens[int] | list[int], at: int = 0) -> int:
    """How many tokens of `a` are those of `b` from `at` on."""
    limit = min(len(a), len(b) - at)
    done, step = 0, 32
    while done < limit:
        step = min(step, limit - done)
        if a[done : done + step] == b[at + done : at + done + step]:
            done += step
            step *= 2
        else:
            limit = done + step - 1  # one of these differs
            step //= 2
            step = max(step, 1)
    return done
