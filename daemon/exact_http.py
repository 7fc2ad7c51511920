"""Sanic's reader of requests, strict about how a body is cut into chunks.

Of Sanic's it uses `read`, `_send`, `_receive_more` and the buffer.
"""

from __future__ import annotations

from sanic.exceptions import BadRequest
from sanic.http import Http
from sanic.http.http1 import HTTP_CONTINUE

from .framing import CHUNK_BYTES, is_chunk_size
from .limits import too_many_pieces


class ExactHttp(Http):
    __slots__ = ("_chunks",)  # of the body that is read

    async def read(self) -> bytes | None:
        if self.request_body == "chunked" and self.request_bytes_left == 0:
            await self._check_chunk()
        return await super().read()

    async def _check_chunk(self) -> None:
        """The line end behind the chunk before, or the header, and the size of the next one. Many
        that are small would be read one after the other, and nobody else served meanwhile."""
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(HTTP_CONTINUE)
        buffer = self.recv_buffer
        while (end := buffer.find(b"\r\n", 2)) < 0 and len(buffer) <= CHUNK_BYTES:
            await self._receive_more()
        if end < 0 or buffer[:2] != b"\r\n" or not is_chunk_size(bytes(buffer[2:end])):
            self.keep_alive = False
            raise BadRequest("The chunks of the body are not as HTTP/1.1 writes them.")
        self._chunks = self._chunks + 1 if self.request_bytes else 1
        if too_many_pieces(self._chunks, self.request_bytes or 0):
            self.keep_alive = False
            raise BadRequest("The body comes in too many small chunks.")
