"""MLX arrays ⇄ bytes. On the MLX thread only; what comes out may go to any thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from .blob import ITEM_BYTES, Array

_TYPES = {
    "BOOL": mx.bool_,
    "U8": mx.uint8,
    "I8": mx.int8,
    "U16": mx.uint16,
    "I16": mx.int16,
    "F16": mx.float16,
    "BF16": mx.bfloat16,
    "U32": mx.uint32,
    "I32": mx.int32,
    "F32": mx.float32,
    "C64": mx.complex64,
    "U64": mx.uint64,
    "I64": mx.int64,
    "F64": mx.float64,
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
# Buffers know no bfloat16: bytes travel as unsigned numbers of the same size.
_PLAIN = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}
_NUMPY = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True, slots=True)
class Computing:
    """An array that the device may still compute; any thread may ask for its bytes."""

    dtype: str
    shape: tuple[int, ...]
    source: mx.array  # submitted, row by row, of a type that buffers know

    @property
    def data(self) -> memoryview:
        if not self.source.size:
            return memoryview(b"")
        return memoryview(self.source).cast("B")  # pyright: ignore[reportArgumentType]


def to_arrays(arrays: Mapping[str, mx.array]) -> dict[str, Array]:
    """The arrays as bytes, without a copy where they lie row by row.

    Submits what has to be computed and does not wait for it: a step that runs goes on, and the
    thread that writes the bytes waits instead.
    """
    plain = {
        name: mx.contiguous(array.view(_PLAIN[array.dtype.size])) for name, array in arrays.items()
    }
    mx.async_eval(plain)
    return {
        name: Computing(_NAMES[array.dtype], tuple(array.shape), plain[name])
        for name, array in arrays.items()
    }


def to_mlx(arrays: Mapping[str, Array]) -> dict[str, mx.array]:
    """MLX arrays with copies of these bytes."""
    result: dict[str, mx.array] = {}
    for name, array in arrays.items():
        numbers = np.frombuffer(array.data, dtype=_NUMPY[ITEM_BYTES[array.dtype]])
        result[name] = mx.array(numbers.reshape(array.shape)).view(_TYPES[array.dtype])
    return result
