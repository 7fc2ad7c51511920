"""Blobs whose content follows from their hash, so that any reader can tell a wrong one."""

from __future__ import annotations

import random
from hashlib import blake2b
from pathlib import Path

from fastmlx.daemon.engine.kv.cold.blob import Blob, Bytes
from fastmlx.daemon.engine.kv.hashes import BlockHash, block_hashes


def chain(name: str, count: int) -> list[BlockHash]:
    """The hashes of a prefix of `count` blocks; different ones for different names."""
    return block_hashes(name.encode(), list(range(4 * count)), 4)


def blob_of(block: bytes, *, size: int = 2048, model: str = "tiny", position: int = 4) -> Blob:
    """A blob of about `size` bytes that only this hash has."""
    seed = int.from_bytes(blake2b(block, digest_size=8).digest(), "little")
    data = random.Random(seed).randbytes(size // 2)
    halves = {f"{i}.keys": Bytes("BF16", (1, len(data) // 2), memoryview(data)) for i in range(2)}
    return Blob("block", model, position, 4, halves, {"cache": "KVCache", "seed": str(seed)})


def is_right(block: bytes, blob: Blob) -> bool:
    """Whether this is the blob of this hash, whatever its size."""
    size = blob.nbytes
    return blob == blob_of(block, size=size, model=blob.model, position=blob.position)


def bytes_on_disk(directory: Path) -> int:
    """All that the directory takes, as `du` counts it, without the folders themselves."""
    total = 0
    for path in directory.rglob("*"):
        try:
            if path.is_file():
                total += path.stat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total
