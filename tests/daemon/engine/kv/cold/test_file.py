"""One block as a file: what was written comes back, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest
from blobs import blob_of, chain
from fastmlx.daemon.engine.kv.cold.arrays import to_arrays, to_mlx
from fastmlx.daemon.engine.kv.cold.blob import ITEM_BYTES, Blob, Bytes
from fastmlx.daemon.engine.kv.cold.file import BadFile, decode, encode
from hypothesis import given
from hypothesis import strategies as st

BLOCK = chain("a", 1)[0]


def file_of(blob: Blob, block: bytes = BLOCK) -> bytes:
    encoded = encode(block, blob)
    data = b"".join(encoded.buffers)
    assert len(data) == encoded.length
    return data


@st.composite
def arrays(draw: st.DrawFn) -> Bytes:
    dtype = draw(st.sampled_from(sorted(ITEM_BYTES)))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    size = ITEM_BYTES[dtype]
    for length in shape:
        size *= length
    return Bytes(dtype, shape, memoryview(draw(st.binary(min_size=size, max_size=size))))


NAMES = st.text(max_size=8).filter(lambda name: name != "__metadata__")
BLOBS = st.builds(
    Blob,
    kind=st.sampled_from(["block", "checkpoint"]),
    model=st.text(max_size=8),
    position=st.integers(0, 1 << 40),
    tokens=st.integers(0, 1 << 40),
    arrays=st.dictionaries(NAMES, arrays(), max_size=4),
    meta=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
)


@given(BLOBS)
def test_what_was_written_is_read(blob: Blob):
    data = file_of(blob)
    back = decode(BLOCK, memoryview(data))
    assert back == blob
    assert list(back.arrays) == list(blob.arrays)


@given(BLOBS, st.data())
def test_a_changed_or_cut_file_gives_the_same_blob_or_none(blob: Blob, data: st.DataObject):
    whole = file_of(blob)
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(changed), whole[:place], whole + b"\0"):
        try:
            assert decode(BLOCK, memoryview(bad)) == blob
        except BadFile:
            continue


@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_block(data: bytes):
    for bad in (data, len(data).to_bytes(8, "little") + data):
        with pytest.raises(BadFile):
            decode(BLOCK, memoryview(bad))


KEYS = ["__metadata__", "format", "dtype", "shape", "data_offsets", "hash", "kind"]
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=8,
)


@given(JSON)
def test_a_strange_header_is_no_block(header: object):
    text = json.dumps(header).encode()
    with pytest.raises(BadFile):
        decode(BLOCK, memoryview(len(text).to_bytes(8, "little") + text))


def test_a_file_under_another_blocks_name_is_refused():
    with pytest.raises(BadFile, match="another block"):
        decode(chain("b", 1)[0], memoryview(file_of(blob_of(BLOCK))))


def test_an_array_whose_bytes_do_not_fit_its_shape_is_refused():
    for array in (Bytes("F32", (2,), memoryview(b"1234")), Bytes("F7", (1,), memoryview(b"1"))):
        with pytest.raises(ValueError, match="array 'x'"):
            encode(BLOCK, Blob("block", "m", 1, 1, {"x": array}))


def test_other_programs_can_read_the_file(tmp_path: Path):
    path = tmp_path / "block.safetensors"
    keys = mx.arange(24).reshape(2, 3, 4).astype(mx.bfloat16)
    blob = Blob("checkpoint", "m", 3, 3, to_arrays({"0.keys": keys}), {"offset": "3"})
    path.write_bytes(file_of(blob))
    loaded, metadata = mx.load(str(path), return_metadata=True)
    assert mx.array_equal(loaded["0.keys"], keys)  # pyright: ignore
    assert metadata["kind"] == "checkpoint"  # pyright: ignore
    assert metadata["meta.offset"] == "3"  # pyright: ignore


@pytest.mark.parametrize(
    "dtype",
    [
        *(mx.bool_, mx.uint8, mx.int8, mx.uint16, mx.int16, mx.float16, mx.bfloat16),
        *(mx.uint32, mx.int32, mx.float32, mx.complex64, mx.uint64, mx.int64),
    ],
)
def test_mlx_arrays_come_back_bit_for_bit(dtype: mx.Dtype):
    whole = (mx.random.normal((2, 6, 8)) * 50).astype(dtype)
    views = (whole[:, 1:4], whole.swapaxes(1, 2), whole[0, 0, 0], whole[:0], whole[::2])
    for array in (whole, *views):
        blob = Blob("block", "m", 1, 1, to_arrays({"x": array}))
        back = to_mlx(decode(BLOCK, memoryview(file_of(blob))).arrays)["x"]
        assert back.dtype == dtype
        assert back.shape == array.shape
        assert mx.array_equal(back, array)
