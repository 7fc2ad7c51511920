"""Tokens to text, piece by piece: never half a character, never a character twice.

Two ways with one meaning, under the same tests: `ByteDetokenizer` for vocabularies whose tokens are
bytes (all current language models), `WindowDetokenizer` for any other decoder. The `DecodeStream`
of tokenizers is neither: on byte-fallback vocabularies it fails with "Invalid prefix" when a model
writes bytes that are not UTF-8 (tokenizers 0.23).
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Callable, Sequence
from typing import Protocol


class Detokenizer(Protocol):
    """The joined pieces are the text of all tokens. Bytes that cannot become a character are
    U+FFFD; an unfinished character is held until it is complete, or until `finish`."""

    def push(self, tokens: Sequence[int]) -> str: ...

    def finish(self) -> str: ...


class ByteTable(dict[int, bytes]):
    """Bytes of the tokens that were asked for; filled on use, since a whole vocabulary of Python
    objects costs tens of megabytes."""

    def __init__(self, token_bytes: Callable[[int], bytes], hidden: frozenset[int]) -> None:
        super().__init__()
        self._token_bytes = token_bytes
        self._hidden = hidden

    def __missing__(self, token: int) -> bytes:
        value = b"" if token in self._hidden else self._token_bytes(token)
        self[token] = value
        return value


class ByteDetokenizer:
    """`strip_start` spaces at the beginning of the text are dropped."""

    def __init__(self, table: ByteTable, strip_start: int = 0) -> None:
        self._table = table
        self._strip = strip_start
        self._rest = b""

    def push(self, tokens: Sequence[int]) -> str:
        table = self._table
        data = table[tokens[0]] if len(tokens) == 1 else b"".join([table[t] for t in tokens])
        if self._rest:
            data = self._rest + data
        text, used = utf_8_decode(data, "replace", False)
        self._rest = data[used:]
        if self._strip and text:
            return self._stripped(text)
        return text

    def finish(self) -> str:
        rest, self._rest = self._rest, b""
        return rest.decode("utf-8", "replace")

    def _stripped(self, text: str) -> str:
        begin = 0
        while begin < self._strip and text[begin : begin + 1] == " ":
            begin += 1
        self._strip = self._strip - begin if begin == len(text) else 0
        return text[begin:]


class WindowDetokenizer:
    """Decodes the last few tokens again with each new one and emits the difference, as
    text-generation-inference and vLLM do."""

    def __init__(self, decode: Callable[[list[int]], str], hidden: frozenset[int]) -> None:
        self._decode = decode
        self._hidden = hidden
        self._window: list[int] = []
        self._emitted = 0  # tokens of the window whose text is out

    def push(self, tokens: Sequence[int]) -> str:
        return "".join([self._push_one(t) for t in tokens if t not in self._hidden])

    def _push_one(self, token: int) -> str:
        self._window.append(token)
        text = self._decode(self._window)
        # A text that ends with U+FFFD may be a character that the next token completes. No
        # character has more than four bytes, so after four tokens it is one that really is there.
        if text.endswith("\ufffd") and len(self._window) - self._emitted < 4:
            return ""
        return self._emit(text)

    def finish(self) -> str:
        return self._emit(self._decode(self._window))

    def _emit(self, text: str) -> str:
        before = self._decode(self._window[: self._emitted])
        del self._window[: self._emitted]
        self._emitted = len(self._window)
        return text[len(before) :]
