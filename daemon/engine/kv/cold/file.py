"""One block as a safetensors file (https://github.com/huggingface/safetensors#format).

    8 bytes: length of the header | header: JSON, padded | the arrays' bytes, without gaps

What is ours stands in the header's `__metadata__`: format, hash, model, kind, position, tokens, the
engine's own words under "meta.", and a checksum (XXH3, 128 bits) over the header without it and
all bytes of the arrays. A file that does not fit in any point is not used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import xxhash

from .blob import ITEM_BYTES, Array, Blob, Bytes, Kind

FORMAT = "fastmlx-kv-1"
MAX_HEADER_BYTES = 16 << 20
_META = "meta."


class BadFile(Exception):
    """This file is no block, or not the one that was asked for; the message says why."""


class Encoded(NamedTuple):
    buffers: list[bytes | memoryview]  # the file is these, one after the other
    length: int  # bytes of all of them


class Header(NamedTuple):
    """What a file says of itself; not yet checked against its content."""

    entries: dict[str, Any]  # of the arrays, as in the file
    metadata: dict[str, str]
    length: int  # bytes before the arrays
    file_bytes: int  # length of the whole file


def encode(block: bytes, blob: Blob) -> Encoded:
    """The file of this blob under this hash. Raises ValueError for arrays that cannot be stored."""
    entries: dict[str, Any] = {}
    offset = 0
    buffers: list[bytes | memoryview] = []
    for name, array in blob.arrays.items():
        size = _checked_bytes(name, array.dtype, array.shape)
        data = array.data
        if size != data.nbytes or name == "__metadata__":
            raise ValueError(f"array {name!r} has {data.nbytes} bytes instead of {size}")
        entries[name] = {
            "dtype": array.dtype,
            "shape": list(array.shape),
            "data_offsets": [offset, offset + size],
        }
        offset += size
        if size:  # an empty view cannot be cast
            buffers.append(data.cast("B"))
    metadata = {
        "format": FORMAT,
        "hash": block.hex(),
        "model": blob.model,
        "kind": blob.kind,
        "position": str(blob.position),
        "tokens": str(blob.tokens),
        **{_META + key: value for key, value in blob.meta.items()},
    }
    checksum = _checksum(entries, metadata, buffers)
    text = json.dumps({"__metadata__": {**metadata, "checksum": checksum}, **entries})
    header = text.encode()
    header += b" " * (-len(header) % 8)
    start = len(header).to_bytes(8, "little") + header
    return Encoded([start, *buffers], len(start) + offset)


def decode(block: bytes, data: memoryview) -> Blob:
    """The blob of a whole file, its arrays as views of `data`. Raises BadFile."""
    header = parse_header(data)
    if header.metadata["hash"] != block.hex():
        raise BadFile("it is another block")
    if len(data) != header.file_bytes:
        raise BadFile(f"it has {len(data)} bytes instead of {header.file_bytes}")
    metadata = dict(header.metadata)
    checksum = metadata.pop("checksum", "")
    if _checksum(header.entries, metadata, [data[header.length :]]) != checksum:
        raise BadFile("its checksum is wrong")
    arrays: dict[str, Array] = {}
    for name, entry in header.entries.items():
        start, end = (header.length + offset for offset in entry["data_offsets"])
        arrays[name] = Bytes(entry["dtype"], tuple(entry["shape"]), data[start:end])
    meta = {k.removeprefix(_META): v for k, v in metadata.items() if k.startswith(_META)}
    return Blob(
        kind=cast(Kind, metadata["kind"]),
        model=metadata["model"],
        position=int(metadata["position"]),
        tokens=int(metadata["tokens"]),
        arrays=arrays,
        meta=meta,
    )


def parse_header(data: memoryview) -> Header:
    """Reads the beginning of a file, which `data` must hold at least. Raises BadFile."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= MAX_HEADER_BYTES or 8 + length > len(data):
        raise BadFile("it is cut off, or no safetensors file")
    try:
        entries = json.loads(bytes(data[8 : 8 + length]))
        metadata = entries.pop("__metadata__")
        if metadata["format"] != FORMAT:
            raise BadFile(f"its format is {metadata['format']!r} instead of {FORMAT!r}")
        if not all(isinstance(value, str) for value in metadata.values()):
            raise BadFile("its metadata are not text")
        if metadata["kind"] not in ("block", "checkpoint"):
            raise BadFile(f"its kind is {metadata['kind']!r}")
        if int(metadata["position"]) < 0 or int(metadata["tokens"]) < 0:
            raise BadFile("it counts tokens below zero")
        for key in ("hash", "model"):
            metadata[key]
        end = 0
        for name, entry in entries.items():
            size = _checked_bytes(name, entry["dtype"], entry["shape"])
            offsets = entry["data_offsets"]
            if offsets != [end, end + size] or not all(type(each) is int for each in offsets):
                raise BadFile(f"array {name!r} is not where it should be")
            end += size
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadFile(f"its header cannot be read: {error!r}") from None
    return Header(entries, metadata, 8 + length, 8 + length + end)


def _checked_bytes(name: str, dtype: str, shape: Sequence[int]) -> int:
    if dtype not in ITEM_BYTES:
        raise ValueError(f"array {name!r} is of unknown type {dtype!r}")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError(f"array {name!r} has a strange shape")
    return math.prod(shape) * ITEM_BYTES[dtype]


def _checksum(
    entries: dict[str, Any], metadata: dict[str, str], buffers: Sequence[bytes | memoryview]
) -> str:
    hasher = xxhash.xxh3_128()
    hasher.update(json.dumps([entries, metadata], sort_keys=True).encode())
    for buffer in buffers:
        hasher.update(buffer)
    return hasher.hexdigest()
