"""From a token's text in the vocabulary to the bytes it stands for.

Vocabularies do not hold text as it is: byte-level BPE (GPT-2, Llama 3, Qwen …) writes every byte as
a printable character, SentencePiece (Llama 2, Gemma, Phi-3 …) a space as "▁" and rare bytes as
"<0x0A>". The `decoder` of tokenizer.json says which. Knowing the bytes of single tokens, a stream
is decoded without looking back, which decoding whole texts over and over has to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenBytes(NamedTuple):
    """What one kind of decoder does to each token, and to the beginning of the text."""

    convert: Callable[[str], bytes]
    strip_start: int  # spaces that are dropped at the beginning of a text, at most


def token_bytes(decoder: bytes | None) -> TokenBytes | None:
    """Reads the JSON of a `tokenizers` decoder; None for kinds whose tokens have no bytes of their
    own (WordPiece, CTC, Metaspace: what they make of a token depends on its neighbours)."""
    spec: dict[str, Any] = json.loads(decoder) if decoder else {}
    if spec.get("type") == "ByteLevel":
        return TokenBytes(_byte_level, 0)
    if spec.get("type") == "Sequence":
        return _sentence_piece(spec["decoders"])
    return None


def _byte_characters() -> dict[str, int]:
    """GPT-2's table (`bytes_to_unicode`): printable bytes are themselves, the others follow 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_characters()


def _byte_level(token: str) -> bytes:
    try:
        return bytes([_BYTES[character] for character in token])
    except KeyError:  # an added token, which stands for itself
        return token.encode("utf-8", "replace")


def _sentence_piece(steps: list[dict[str, Any]]) -> TokenBytes | None:
    replacements: list[tuple[str, str]] = []
    strip_start = 0
    byte_fallback = fused = False
    for step in steps:
        match step:
            case {"type": "ByteLevel"} if len(steps) == 1:
                return TokenBytes(_byte_level, 0)
            case {"type": "Replace", "pattern": {"String": old}, "content": new} if not fused:
                replacements.append((old, new))
            case {"type": "ByteFallback"} if not fused:
                byte_fallback = True
            case {"type": "Fuse"}:
                fused = True
            case {"type": "Strip", "content": " ", "start": start, "stop": 0} if fused:
                strip_start = start
            case _:
                return None

    def convert(token: str) -> bytes:
        if byte_fallback and (byte := _BYTE_TOKEN.fullmatch(token)):
            return bytes([int(byte[1], 16)])
        for old, new in replacements:
            token = token.replace(old, new)
        return token.encode("utf-8", "replace")

    return TokenBytes(convert, strip_start)
