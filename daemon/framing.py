"""Where a request ends and the next one begins, as RFC 9112 says and not more kindly. Pure.

A proxy and this server must agree on it: what one of them takes for a body and the other for a
second request reaches us past the first one's rules. Sanic forgives much of that.

Source: https://www.rfc-editor.org/rfc/rfc9112#section-5
"""

from __future__ import annotations

import re

_CONTROLS = bytes({*range(32), 127} - {*b"\t\r\n"})
_LENGTH = re.compile(
    rb"\r\n(?i:content-length:[ \t]*[0-9]+|transfer-encoding:[ \t]*chunked)[ \t]*(?:\r\n|\Z)"
)
CHUNK_BYTES = 256  # of the line before a chunk
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


def fault_of(head: bytes, *, has_body: bool) -> str | None:
    """What is wrong with a header, without its last line end; None when nothing is."""
    ends = head.count(b"\r\n")
    if not head.count(b"\r") == head.count(b"\n") == ends:
        return "A line of the header ends with CR LF, and has neither of them in it."
    if len(head.translate(None, _CONTROLS)) != len(head):
        return "No control character may stand in a header."
    if b"\n " in head or b"\n\t" in head:
        return "A line of the header may not begin with a space."
    if has_body and not _LENGTH.search(head):
        return "Content-Length must be a number, Transfer-Encoding chunked."
    return None


def is_chunk_size(line: bytes) -> bool:
    """Whether that may stand before a chunk."""
    return len(line) <= CHUNK_BYTES and _CHUNK.fullmatch(line) is not None
