"""What the cold tier stores: named arrays as plain bytes, and a few words about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

Kind = Literal["block", "checkpoint"]

# safetensors' names of types → bytes of an element.
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "C64": 8,
    "U64": 8,
    "I64": 8,
    "F64": 8,
}


class Array(Protocol):
    """`data` is row by row, little-endian, of shape × ITEM_BYTES[dtype] bytes. Asking for it may
    wait for the device that computes it."""

    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def data(self) -> memoryview: ...


class Bytes(NamedTuple):
    """An array whose bytes are there."""

    dtype: str
    shape: tuple[int, ...]
    data: memoryview


@dataclass(frozen=True, slots=True)
class Blob:
    """Keys and values of one block, or a whole state at a position."""

    kind: Kind
    model: str  # the name that the user gave it
    position: int  # tokens from the start of the sequence to the end of this
    tokens: int  # tokens that this covers: the block's, or all up to a checkpoint
    arrays: Mapping[str, Array]
    meta: Mapping[str, str] = field(default_factory=dict)  # the engine's own, kept as it is

    @property
    def nbytes(self) -> int:
        sizes = (math.prod(a.shape) * ITEM_BYTES[a.dtype] for a in self.arrays.values())
        return sum(sizes)
