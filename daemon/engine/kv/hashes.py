"""Names for prefixes: a hash says which model, and which tokens from the first one on.

    h[0] = H(salt)    h[i] = H(h[i-1], tokens of block i)

Two prefixes share their first k hashes just if they share their first k blocks, so a lookup is a
walk that ends at the first unknown hash. Blocks and positions are hashed under different
personalities: the state after 256 tokens and the block of tokens 192 to 255 are different things.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b
from typing import NewType

from ...cold.layout import HASH_BYTES

BlockHash = NewType("BlockHash", bytes)

_TOKEN_BYTES = 8  # token ids, and what stands for media, as signed 64-bit numbers


def make_salt(*parts: bytes | str | int) -> bytes:
    """One salt of everything that decides what a token's keys and values are: weights, adapter,
    codec, layout, versions. The parts are told apart: ("ab", "c") is not ("a", "bc")."""
    hasher = blake2b(digest_size=HASH_BYTES, person=b"fastmlx salt")
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        hasher.update(len(data).to_bytes(8, "little"))
        hasher.update(data)
    return hasher.digest()


def block_hashes(salt: bytes, tokens: Sequence[int], block_size: int) -> list[BlockHash]:
    """The hashes of the whole blocks of `tokens`, in order; a rest shorter than one has none."""
    data = memoryview(array("q", tokens)).cast("B")
    step = block_size * _TOKEN_BYTES
    parent = salt
    hashes: list[BlockHash] = []
    for start in range(0, len(data) - step + 1, step):
        parent = _block(parent, data[start : start + step])
        hashes.append(BlockHash(parent))
    return hashes


def position_hash(
    salt: bytes,
    tokens: Sequence[int],
    position: int,
    block_size: int,
    blocks: Sequence[BlockHash] | None = None,
) -> BlockHash:
    """The hash of the state after the first `position` tokens, at any position from 0.

    `blocks` may hold the `block_hashes` of (at least) these tokens, if they are known already.
    """
    if not 0 <= position <= len(tokens):
        raise ValueError(f"there is no position {position} among {len(tokens)} tokens")
    whole = position // block_size
    if blocks is None:
        blocks = block_hashes(salt, tokens[: whole * block_size], block_size)
    parent = blocks[whole - 1] if whole else salt
    rest = array("q", tokens[whole * block_size : position])
    hasher = blake2b(parent, digest_size=HASH_BYTES, person=b"fastmlx point")
    hasher.update(rest.tobytes())
    return BlockHash(hasher.digest())


def _block(parent: bytes, data: memoryview) -> bytes:
    hasher = blake2b(parent, digest_size=HASH_BYTES, person=b"fastmlx block")
    hasher.update(data)
    return hasher.digest()
