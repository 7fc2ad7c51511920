"""Weight files without their weights: names, shapes and sizes from safetensors headers.

Format: 8 bytes little-endian length, that many bytes of JSON, then the data
(https://huggingface.co/docs/safetensors/index#format).
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..protocol.errors import ModelFailed
from .inside import no_weights

INDEX = "model.safetensors.index.json"
PATTERN = "model*.safetensors"  # what mlx-lm loads
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
MAX_DIMENSIONS = 32
BITS = {"BOOL": 8, "F4": 4, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "C64": 64}
BITS |= {f"{kind}{bits}": bits for kind in "IU" for bits in (8, 16, 32, 64)}
BITS |= {"F16": 16, "BF16": 16, "F32": 32, "F64": 64}


class Weights(NamedTuple):
    size_bytes: int  # of all tensors
    num_tensors: int
    dtypes: dict[str, int]  # dtype as safetensors names it → bytes in it


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


_header_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_tensor_decoder = msgspec.json.Decoder(_Tensor)


def read_weights(folder: Path) -> Weights:
    """Sum up the headers of all weight files of a model.

    Raises ModelFailed: none, one that the index names is missing, one is damaged or cut short.
    """
    files = shards(folder)
    if not files:
        raise no_weights(folder, PATTERN)
    dtypes: dict[str, int] = {}
    num_tensors = 0
    for shard in files:
        for tensor in read_header(shard).values():
            begin, end = tensor.data_offsets
            dtypes[tensor.dtype] = dtypes.get(tensor.dtype, 0) + end - begin
            num_tensors += 1
    return Weights(sum(dtypes.values()), num_tensors, dtypes)


def read_header(path: Path) -> dict[str, _Tensor]:
    """Name → tensor of one file whose size agrees with them.

    Raises ModelFailed, with what is wrong with the file.
    """
    try:
        with path.open("rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            start = file.read(8)
            if len(start) < 8:
                raise _damaged(path, f"it has only {file_bytes} bytes")
            (header_bytes,) = struct.unpack("<Q", start)
            if header_bytes > MAX_HEADER_BYTES:
                raise _damaged(path, f"its header claims {header_bytes} bytes")
            if 8 + header_bytes > file_bytes:
                raise _damaged(path, "it ends within its header")
            text = file.read(header_bytes)
    except OSError as error:
        raise ModelFailed(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        entries = _header_decoder.decode(text)
        tensors = {
            name: _tensor_decoder.decode(raw)
            for name, raw in entries.items()
            if name != "__metadata__"
        }
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _damaged(path, f"its header is not what safetensors writes ({error})") from error
    end = 0
    for name, tensor in tensors.items():
        begin, stop = tensor.data_offsets
        if not 0 <= begin <= stop:
            raise _damaged(path, f"tensor {name[:100]} lies at {begin} to {stop}")
        if not _has_its_size(tensor):
            raise _damaged(
                path,
                f"tensor {name[:100]} of {tensor.dtype[:20]} {tensor.shape[:8]} has "
                f"{stop - begin} bytes",
            )
        end = max(end, stop)
    whole_bytes = 8 + header_bytes + end
    if file_bytes < whole_bytes:
        raise _damaged(
            path, f"it is cut short: {file_bytes} of {whole_bytes} bytes are there; fetch it again"
        )
    return tensors


def _has_its_size(tensor: _Tensor) -> bool:
    """Whether shape and type need as many bytes as there are; types that are new to us may."""
    bits = BITS.get(tensor.dtype)
    if len(tensor.shape) > MAX_DIMENSIONS or any(size < 0 for size in tensor.shape):
        return False
    begin, end = tensor.data_offsets
    return bits is None or math.prod(tensor.shape) * bits == 8 * (end - begin)


def shards(folder: Path) -> list[Path]:
    """The weight files, all of them there. Raises ModelFailed."""
    present = sorted(folder.glob(PATTERN))
    index = folder / INDEX
    try:
        text = index.read_bytes()
    except FileNotFoundError:
        return present
    except OSError as error:
        raise ModelFailed(f"{index} cannot be read: {error.strerror or error}.") from error
    try:
        named = set(msgspec.json.decode(text, type=_Index).weight_map.values())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFailed(f"{index} is damaged: {error}.") from error
    for name in named:
        if Path(name).name != name or name in ("", ".."):
            raise ModelFailed(f"{index} names {name[:100]!r}, which is not a file beside it.")
    # exists(): a link into a cache whose blob was deleted is a missing file, too.
    missing = sorted(name for name in named if not (folder / name).exists())
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelFailed(
            f"{folder} is not complete: its index names {', '.join(missing[:3])}{more}, "
            f"{'which is' if len(missing) == 1 else 'which are'} not there."
        )
    return present


def _damaged(path: Path, why: str) -> ModelFailed:
    return ModelFailed(f"{path} is damaged: {why}.")
