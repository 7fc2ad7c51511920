"""Hashes of prefixes: equal for equal tokens under one salt, and for nothing else."""

from __future__ import annotations

from fastmlx.daemon.engine.kv.hashes import block_hashes, make_salt, position_hash
from hypothesis import given
from hypothesis import strategies as st

TOKENS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40)
SIZE = st.integers(1, 9)


@given(TOKENS, TOKENS, TOKENS, SIZE)
def test_two_prefixes_share_just_the_hashes_of_the_blocks_they_share(common, a, b, size):
    first, second = (block_hashes(b"salt", common + rest, size) for rest in (a, b))
    assert len(first) == len(common + a) // size
    for i, (one, other) in enumerate(zip(first, second, strict=False)):
        end = (i + 1) * size
        assert (one == other) == ((common + a)[:end] == (common + b)[:end])


@given(TOKENS, SIZE)
def test_hashes_of_a_longer_prompt_begin_with_those_of_its_prefix(tokens, size):
    whole = block_hashes(b"salt", tokens, size)
    half = len(tokens) // 2
    assert block_hashes(b"salt", tokens[:half], size) == whole[: half // size]


@given(TOKENS, SIZE, st.data())
def test_every_position_has_a_hash_of_its_own(tokens, size, data):
    whole = block_hashes(b"salt", tokens, size)
    hashes = [position_hash(b"salt", tokens, p, size) for p in range(len(tokens) + 1)]
    assert len({*hashes, *whole}) == len(hashes) + len(whole)
    position = data.draw(st.integers(0, len(tokens)))
    assert position_hash(b"salt", tokens, position, size, whole) == hashes[position]
    assert position_hash(b"salt", tokens[:position], position, size) == hashes[position]


@given(TOKENS.filter(bool))
def test_another_salt_gives_other_hashes(tokens):
    assert set(block_hashes(b"a", tokens, 1)).isdisjoint(block_hashes(b"b", tokens, 1))
    assert position_hash(b"a", tokens, 1, 4) != position_hash(b"b", tokens, 1, 4)


def test_the_parts_of_a_salt_are_told_apart():
    salts = {make_salt("ab", "c"), make_salt("a", "bc"), make_salt("abc"), make_salt("ab", "c", "")}
    assert len(salts) == 4
    assert make_salt(b"ab", "c") == make_salt("ab", b"c")
