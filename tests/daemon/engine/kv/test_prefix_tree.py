"""The radix tree and what is decided about it, without arrays."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from fastmlx.daemon.engine.kv.eviction import Candidate, choose
from fastmlx.daemon.engine.kv.marks import marks
from fastmlx.daemon.engine.kv.merging import RECENT, Link, join_at, surplus
from fastmlx.daemon.engine.kv.prefix_tree import Match, Node, PrefixTree, common, tokens_of
from fastmlx.daemon.engine.kv.survey import AT_ONCE, Survey
from fastmlx.daemon.protocol.wire import CachedPrefix
from hypothesis import given
from hypothesis import strategies as st


@dataclass(frozen=True)
class Letters:
    """A span whose bytes are the tokens themselves, so that a wrong cut shows."""

    tokens: list[int]

    @property
    def nbytes(self) -> int:
        return len(self.tokens)

    def split(self, at: int) -> tuple[Letters, Letters]:
        return Letters(self.tokens[:at]), Letters(self.tokens[at:])

    def join(self, after: Letters) -> Letters:
        return Letters(self.tokens + after.tokens)


def put(tree: PrefixTree, salt: bytes, ids: list[int]) -> Node:
    tokens = tokens_of(ids)
    match = tree.match(salt, tokens)
    node = tree.boundary(salt, match, match.length)
    if match.length < len(tokens):
        rest = tokens[match.length :]
        node = tree.add(node, rest, Letters(rest.tolist()), now=0.0)
    tree.check()
    return node


def spelled(match: Match) -> list[int]:
    held: list[int] = []
    for node in match.path:
        assert isinstance(node.span, Letters)
        held += node.span.tokens
    return held[: match.length]


prompts = st.lists(st.integers(0, 2), min_size=1, max_size=12)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), prompts), max_size=12), prompts)
def test_a_match_is_the_longest_common_prefix_with_anything_of_that_salt(
    kept: list[tuple[bytes, list[int]]], asked: list[int]
) -> None:
    tree = PrefixTree()
    for salt, ids in kept:
        put(tree, salt, ids)
    for salt in (b"a", b"b"):
        match = tree.match(salt, tokens_of(asked))
        longest = max((common(ids, asked) for other, ids in kept if other == salt), default=0)
        assert match.length == longest
        assert spelled(match) == asked[:longest]


@given(st.lists(prompts, min_size=1, max_size=8), st.data())
def test_what_somebody_uses_stays_whole_while_nodes_are_split_and_removed(
    kept: list[list[int]], data: st.DataObject
) -> None:
    tree = PrefixTree()
    used = [put(tree, b"", ids) for ids in kept[: len(kept) // 2]]
    for node in used:
        tree.acquire(node)
    for ids in kept:
        put(tree, b"", ids)
    while free := [n for n in tree.nodes() if not n.children and not n.users]:
        tree.remove(data.draw(st.sampled_from(free)))
        tree.check()
    for ids in kept[: len(kept) // 2]:
        assert tree.match(b"", tokens_of(ids)).length == len(ids)
    for node in used:
        tree.release(node)
    assert not any(node.users for node in tree.nodes())


@given(st.lists(prompts, min_size=1, max_size=8), st.data())
def test_joined_nodes_hold_what_they_held(kept: list[list[int]], data: st.DataObject) -> None:
    tree = PrefixTree()
    for ids in kept:
        put(tree, b"", ids)
    users = data.draw(st.sets(st.sampled_from(list(tree.nodes()))))
    for node in users:
        tree.acquire(node)
    nbytes = tree.nbytes

    def joinable() -> list[Node]:
        return [n for n in tree.nodes() if len(n.children) == 1 and not n.users]

    while found := joinable():
        tree.join(data.draw(st.sampled_from(found)))
        tree.check()
    assert tree.nbytes == nbytes
    for ids in kept:
        match = tree.match(b"", tokens_of(ids))
        assert (match.length, spelled(match)) == (len(ids), ids)
    for node in users:
        tree.release(node)


def test_what_was_not_used_for_longest_is_the_first_that_may_go() -> None:
    tree = PrefixTree()
    a, b, c = (put(tree, b"", [first, 9]) for first in (1, 2, 3))
    tree.touch(tree.match(b"", tokens_of([1, 9])), 1.0)
    assert list(tree.by_use()) == [b, c, a]
    tree.remove(c)
    longer = put(tree, b"", [2, 8])  # cuts b
    assert list(tree.by_use()) == [b, a, longer.parent, longer]
    assert len(tree) == 4


def test_a_large_tree_is_surveyed_a_piece_at_a_time() -> None:
    tree = PrefixTree()
    survey = Survey(tree)
    assert survey.look() == []
    top = put(tree, b"", [7])
    for number in range(2 * AT_ONCE):
        tree.add(top, tokens_of([number, 7]), Letters([number, 7]), now=0.0)
    tree.touch(tree.match(b"", tokens_of([7])), 1.0)
    assert survey.look() == []  # not all of it yet
    assert [survey.look() for _ in range(3)][-1] == [
        CachedPrefix(3, tree.nbytes, 1, [7]),
    ]


def links(*sizes: int, checkpoints: tuple[int, ...] = (), **fields: bool | int) -> list[Link]:
    found: list[Link] = []
    end = 0
    for number, size in enumerate(sizes):
        end += size
        link = Link(end, size, False, int(number < len(sizes) - 1), number in checkpoints)
        found.append(link._replace(**fields) if number == 0 and fields else link)
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([], None),
        (links(100), None),
        (links(100, 100), 0),
        (links(200, 100), 0),
        (links(201, 100), None),  # copied for little
        (links(2900, 500, 180, 90), 2),
        (links(2900, 500, 270), 1),
        (links(2900, 770), None),
        (links(100, 3997), None),  # too large together
        (links(100, 3996), 0),
        (links(100, 100, checkpoints=(0,)), None),
        (links(100, 100, checkpoints=(1,)), 0),
        (links(100, 100, used=True), None),
        (links(100, 100, num_children=2), None),
    ],
)
def test_small_nodes_are_joined_with_their_only_child(
    path: list[Link], expected: int | None
) -> None:
    assert join_at(path, 4096) == expected


@given(st.lists(st.integers(1, 400), min_size=1, max_size=200))
def test_a_long_conversation_ends_up_in_few_nodes_each_token_copied_a_few_times(
    turns: list[int],
) -> None:
    sizes: list[int] = []
    copied = 0
    for turn in turns:
        sizes.append(turn)
        while (at := join_at(links(*sizes), 4096)) is not None:
            sizes[at : at + 2] = [sizes[at] + sizes[at + 1]]
            copied += sizes[at]
    assert sum(sizes) == sum(turns)
    assert max(sizes) <= 4096
    assert len(sizes) <= sum(turns) / 2048 + 12
    assert copied <= 22 * sum(turns)


def test_of_old_checkpoints_those_that_save_little_are_dropped() -> None:
    every = tuple(range(30))
    assert surplus([]) == []
    assert surplus(links(*[100] * 9, checkpoints=every)) == []
    # The first and the recent ones stay; of the others enough that none is far away.
    assert surplus(links(*[400] * 14, checkpoints=every)) == [1, 3, 5]
    assert surplus(links(*[2048] * 14, checkpoints=every)) == []
    path = links(*[100] * 14, checkpoints=every)
    assert surplus(path) == [1, 2, 3, 4, 5]
    path[3] = path[3]._replace(num_children=2)
    path[4] = path[4]._replace(used=True)
    assert surplus(path) == [1, 2, 5]
    assert len(surplus(path)) == 13 - RECENT - 2


@given(prompts, prompts, st.integers(0, 12))
def test_common_counts_the_tokens_that_are_equal(a: list[int], b: list[int], at: int) -> None:
    expected = 0
    while expected < min(len(a), len(b) - at) and a[expected] == b[at + expected]:
        expected += 1
    assert common(a, b, at) == expected


def test_the_oldest_and_largest_goes_first_unless_much_work_is_in_it() -> None:
    def chosen(*candidates: Candidate[str], needed: int = 1) -> list[str]:
        return choose(candidates, needed)

    young, old = Candidate("young", 100, 100, 5.0), Candidate("old", 100, 100, 50.0)
    assert chosen(young, old) == ["old"]
    small, large = Candidate("small", 100, 10, 5.0), Candidate("large", 100, 1000, 5.0)
    assert chosen(small, large) == ["large"]
    cheap, dear = Candidate("cheap", 10, 100, 5.0), Candidate("dear", 4000, 100, 5.0)
    assert chosen(cheap, dear) == ["cheap"]
    marked = Candidate("marked", 100, 100, 15.0, marked=True)  # by a client
    assert chosen(young, marked) == ["young"]
    assert chosen(young, marked._replace(age=30.0)) == ["marked"]
    assert chosen(young, old, needed=150) == ["old", "young"]
    assert chosen(young, old, needed=0) == []
    assert choose([young, old], 40, spare_bytes=100) == ["old"]
    assert choose([young, old], 40, spare_bytes=161) == ["old", "young"]


@pytest.mark.parametrize(
    ("closing", "end", "expected"),
    [
        ([], 0, []),
        ([], 500, [500]),
        ([100], 500, [100, 500]),
        ([100, 300, 301, 400, 500, 600, 700], 800, [100, 500, 600, 700, 800]),
        ([20, 790], 800, [800]),  # too little to save
        ([], 5000, [2000, 4000, 5000]),
        ([2030], 5000, [2030, 4000, 5000]),  # of two neighbours the later one
    ],
)
def test_checkpoints_are_kept_where_another_prompt_may_go_on(
    closing: list[int], end: int, expected: list[int]
) -> None:
    prompt = [7 if i + 1 in closing else 1 for i in range(end)]
    assert marks(prompt, end, {7}, interval=2000) == expected
