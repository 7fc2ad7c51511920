"""Texts that clients keep for us and bring back: opaque to them, and known as ours by a MAC.

    "fmx2." + base64url(MAC + zlib(UTF-8))

`encrypted_content` of reasoning and compaction items is such a text. The key belongs to the home
and is made at the first use. The MAC keeps others from putting words into the model's mouth; what
is in the text is no secret from the client, who asked for it.

Source: BLAKE2 as a keyed hash, https://www.rfc-editor.org/rfc/rfc7693
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import zlib
from pathlib import Path

from ..protocol.errors import BadRequest

_MARK = "fmx2."
_MAC_BYTES = 16
_KEY_BYTES = 32
MAX_TEXT = 64 * 1024**2  # bytes that a sealed text may unfold to, and all of a request together


class Seal:
    """Seals and opens with the key of one home."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, path: Path) -> Seal:
        """With the key in the file `path`, which is made when missing. Raises OSError."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_bytes()
            if len(key) == _KEY_BYTES:
                return cls(key)
            path.unlink()  # torn; what was sealed with it is lost anyway
            return cls.of(path)
        with os.fdopen(handle, "wb") as file:
            file.write(key := secrets.token_bytes(_KEY_BYTES))
        return cls(key)

    @classmethod
    def fleeting(cls) -> Seal:
        """With a key that nobody keeps."""
        return cls(secrets.token_bytes(_KEY_BYTES))

    def close(self, text: str, purpose: str) -> str:
        """`purpose`: at most 16 letters; a text opens only for the one it was sealed for."""
        data = zlib.compress(text.encode("utf-8", "surrogatepass"), 1)
        sealed = base64.urlsafe_b64encode(self._mac(data, purpose) + data)
        return _MARK + sealed.decode("ascii")

    def open(self, sealed: object, purpose: str) -> str | None:
        """None for whatever was not sealed here."""
        if not isinstance(sealed, str) or not sealed.startswith(_MARK):
            return None
        try:
            raw = base64.urlsafe_b64decode(sealed.removeprefix(_MARK))
            data = raw[_MAC_BYTES:]
            if not hmac.compare_digest(raw[:_MAC_BYTES], self._mac(data, purpose)):
                return None
            opening = zlib.decompressobj()
            unfolded = opening.decompress(data, MAX_TEXT)
            return unfolded.decode("utf-8", "surrogatepass") if opening.eof else None
        except (ValueError, zlib.error):
            return None

    def _mac(self, data: bytes, purpose: str) -> bytes:
        person = purpose.encode("ascii")
        return hashlib.blake2b(data, digest_size=_MAC_BYTES, key=self._key, person=person).digest()


class Opener:
    """Opens the texts of one request: very little may stand for much, and the same come often."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._left = MAX_TEXT

    def open(self, sealed: object, purpose: str) -> str | None:
        """As `Seal.open`. Raises BadRequest when it was too much together."""
        text = self._seal.open(sealed, purpose)
        self._left -= len(text or "")
        if self._left < 0:
            raise BadRequest(
                f"What is encrypted in input unfolds to more than {MAX_TEXT:,} characters.",
                param="input",
            )
        return text
