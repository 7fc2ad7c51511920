"""Which weights these are, found out in milliseconds: what else could make a cached block wrong.

Reading all bytes would take as long as loading them. A file counts as the same when its name,
size, time of change, header and the first bytes of each of its tensors are.
"""

from __future__ import annotations

import json
import os
import struct
from hashlib import blake2b
from pathlib import Path

_CONFIGS = ("config.json", "adapter_config.json")
_SAMPLE = 64  # bytes of a tensor
_MAX_SAMPLES = 2048  # of a file; spread evenly over its tensors
_MAX_HEADER = 100_000_000  # bytes, as in safetensors


def weights_fingerprint(folder: Path) -> bytes:
    """20 bytes that change when the model in this folder does.

    Also usable for the folder of an adapter. Raises OSError when a file cannot be read.
    """
    hasher = blake2b(digest_size=20, person=b"fastmlx weights")
    # Configurations and, where a model brings its own, the code that computes with them.
    for path in sorted(p for p in folder.iterdir() if p.name in _CONFIGS or p.suffix == ".py"):
        _add(hasher, path.name.encode(), path.read_bytes())
    for path in sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".npz")):
        _add(hasher, path.name.encode(), *_samples(path))
    return hasher.digest()


def _add(hasher: blake2b, *parts: bytes) -> None:
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)


def _samples(path: Path) -> list[bytes]:
    file = os.open(path, os.O_RDONLY)
    try:
        status = os.fstat(file)
        parts = [struct.pack("<qq", status.st_size, status.st_mtime_ns)]
        start = os.pread(file, 8, 0)
        length = int.from_bytes(start, "little")
        if path.suffix != ".safetensors" or not 2 <= length <= min(_MAX_HEADER, status.st_size):
            return [*parts, os.pread(file, 1 << 16, 0)]
        header = os.pread(file, length, 8)
        parts.append(header)
        offsets = _tensor_offsets(header)
        every = max(1, len(offsets) // _MAX_SAMPLES)
        parts += [os.pread(file, _SAMPLE, 8 + length + o) for o in offsets[::every]]
        return parts
    finally:
        os.close(file)


def _tensor_offsets(header: bytes) -> list[int]:
    try:
        entries = json.loads(header)
        tensors = (value for name, value in entries.items() if name != "__metadata__")
        return sorted(int(value["data_offsets"][0]) for value in tensors)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return [0]  # not a readable file: the loader will say so
