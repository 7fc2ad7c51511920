"""Values as bytes of a column: JSON, compressed."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec


def pack(value: Any) -> bytes:
    return zlib.compress(msgspec.json.encode(value), 1)


def unpack(data: bytes, kind: Any) -> Any:
    """What was packed, as a `kind`."""
    return msgspec.json.decode(zlib.decompress(data), type=kind)
