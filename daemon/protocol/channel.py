"""Frames over a stream socket: 4 bytes little-endian length, then one msgpack message.

`Decoder` and `encode` are pure, so both ends (asyncio in the front, a blocking thread in the
engine) and the tests share them. A frame larger than MAX_FRAME or one that does not decode is a
`ChannelError`: the other end is not ours, or is broken, and the connection must be dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")

_LENGTH = struct.Struct("<I")
MAX_FRAME = 256 * 1024 * 1024  # a million-token prompt is about 5 MB

_encoder = msgspec.msgpack.Encoder()


class ChannelError(Exception):
    """The peer sent bytes that are not a frame of this protocol, or a message cannot be one."""


def encode(message: msgspec.Struct) -> bytes:
    """One frame, ready to be written. Raises ChannelError for one that the peer would not read."""
    try:
        body = _encoder.encode(message)
    except OverflowError as error:
        raise ChannelError("a number in it is too large") from error
    if len(body) > MAX_FRAME:
        raise ChannelError(f"it takes {len(body):,} bytes, of at most {MAX_FRAME:,}")
    return _LENGTH.pack(len(body)) + body


class Decoder(Generic[T]):
    """Bytes in, messages out; keeps what is left of an unfinished frame."""

    def __init__(self, message_type: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(message_type)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[T]:
        """Yields every message that `data` completes.

        Raises ChannelError; after that the decoder must not be used again.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _LENGTH.size:
                (size,) = _LENGTH.unpack_from(buffer, start)
                if size > MAX_FRAME:
                    raise ChannelError(f"frame of {size} bytes is over the limit of {MAX_FRAME}")
                end = start + _LENGTH.size + size
                if len(buffer) < end:
                    break
                body = bytes(memoryview(buffer)[start + _LENGTH.size : end])
                start = end
                try:
                    message = self._decoder.decode(body)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise ChannelError(f"undecodable frame: {error}") from error
                yield message
        finally:
            del buffer[:start]
