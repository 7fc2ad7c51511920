"""The signature of a thinking block: ours, opaque to clients, and accepted back.

Clients return thinking with its signature, and may ask to have the text hidden (`display` is
`omitted`). Then the signature carries it, and the next turn's prompt has what the model thought.

    "fmx1." + base64url(zlib(UTF-8))    the text itself
    "fmx0." + base64url(BLAKE2b-128)    of a text that stands beside it

Source: https://platform.claude.com/docs/en/build-with-claude/extended-thinking
"""

from __future__ import annotations

import base64
import hashlib
import zlib

from ..protocol.errors import BadRequest

_BESIDE, _INSIDE = "fmx0.", "fmx1."
MAX_THINKING = 4 * 1024**2  # bytes that a signature may unfold to
MAX_TOGETHER = 16 * 1024**2  # and all of a request


def sign(thinking: str, *, carry: bool) -> str:
    """The signature of a thinking block; `carry` puts the text into it."""
    data = thinking.encode("utf-8", "surrogatepass")
    if carry:
        return _INSIDE + _text(zlib.compress(data))
    return _BESIDE + _text(hashlib.blake2b(data, digest_size=16).digest())


def carried(signature: str) -> str:
    """The text that a signature carries; "" for all others, foreign and damaged ones included."""
    if not signature.startswith(_INSIDE):
        return ""
    try:
        data = base64.urlsafe_b64decode(signature.removeprefix(_INSIDE))
        return zlib.decompressobj().decompress(data, MAX_THINKING).decode("utf-8")
    except (ValueError, zlib.error):
        return ""


class Carried:
    """What the signatures of one request carry: very little may stand for much, and come often."""

    def __init__(self) -> None:
        self._left = MAX_TOGETHER

    def by(self, signature: str) -> str:
        """As `carried`. Raises BadRequest when it was too much together."""
        text = carried(signature)
        self._left -= len(text)
        if self._left < 0:
            raise BadRequest(
                f"messages: the signatures of thinking carry more than {MAX_TOGETHER:,} "
                "characters.",
                param="messages",
            )
        return text


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")
