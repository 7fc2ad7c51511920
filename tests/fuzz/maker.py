"""Values of a type out of bytes, so that a fuzzer's bytes are messages and bodies from the start.

What is made fits the type, but for about one value in sixteen where `faults` are asked for: that
one is anything at all, is left out, or stands beside a key that nobody knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from msgspec import inspect

_NUMBERS = (0, 1, -1, 2, 255, 65536, 2**31, 2**63 - 1, -(2**63), 2**64 - 1)
_FRACTIONS = (0.0, 1.0, -1.5, 1e-9, 1e300, 8192.0)
_MAX_DEPTH = 8


_described = cache(inspect.type_info)


class Maker:
    """Takes `data` from its front; from an empty rest only the smallest values are made."""

    def __init__(self, data: bytes, words: Sequence[str], *, faults: bool = False) -> None:
        self._data = data
        self._at = 0
        self._words = words
        self._faults = faults

    def byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def rest(self) -> bytes:
        return self._data[self._at :]

    def text(self) -> str:
        """A word, or as many bytes as the next one says."""
        size = self.byte()
        if size < 128:
            place = size * 256 + self.byte()
            return self._words[place % len(self._words)]
        start, self._at = self._at, self._at + size - 128
        return self._data[start : self._at].decode(errors="replace")

    def anything(self, depth: int = 0) -> Any:
        """What JSON can say."""
        kind = self.byte() % 9
        if depth >= _MAX_DEPTH:
            kind %= 6
        match kind:
            case 0:
                return None
            case 1:
                return self.byte() % 2 == 0
            case 2:
                return self._number()
            case 3:
                return _FRACTIONS[self.byte() % len(_FRACTIONS)]
            case 4 | 5:
                return self.text()
            case 6:
                return [self.anything(depth + 1) for _ in range(self.byte() % 5)]
        return {self.text(): self.anything(depth + 1) for _ in range(self.byte() % 6)}

    def of(self, kind: Any) -> Any:
        """A value of a type, in plain lists, dicts and scalars."""
        return self._of(_described(kind), 0)

    def _number(self) -> int:
        place = self.byte()
        return _NUMBERS[place % len(_NUMBERS)] if place < 64 else place - 64

    def _of(self, kind: inspect.Type, depth: int) -> Any:
        if self._faults and self.byte() % 16 == 15:
            return self.anything(depth)
        match kind:
            case inspect.UnionType(types=types):
                return self._of(types[self.byte() % len(types)], depth)
            case inspect.StructType():
                return self._struct(kind, depth)
            case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
                return [self._of(item, depth + 1) for _ in range(self._count(depth))]
            case inspect.TupleType(item_types=items):
                return [self._of(item, depth + 1) for item in items]
            case inspect.DictType(key_type=key, value_type=value):
                made = range(self._count(depth))
                return {self._key(key): self._of(value, depth + 1) for _ in made}
            case inspect.LiteralType(values=values):
                return values[self.byte() % len(values)]
            case inspect.EnumType(cls=cls):
                values = list(cls)
                return values[self.byte() % len(values)].value
            case inspect.NoneType():
                return None
            case inspect.BoolType():
                return self.byte() % 2 == 0
            case inspect.IntType():
                return self._number()
            case inspect.FloatType():
                return _FRACTIONS[self.byte() % len(_FRACTIONS)]
            case inspect.StrType():
                return self.text()
            case inspect.BytesType():
                return self.text().encode()
        return self.anything(depth)

    def _key(self, kind: inspect.Type) -> Any:
        return self._number() if isinstance(kind, inspect.IntType) else self.text()

    def _count(self, depth: int) -> int:
        return self.byte() % 4 if depth < _MAX_DEPTH else 0

    def _struct(self, kind: inspect.StructType, depth: int) -> Any:
        if kind.array_like:
            return [self._of(field.type, depth + 1) for field in kind.fields]
        made = {kind.tag_field: kind.tag} if kind.tag_field is not None else {}
        for field in kind.fields:
            if field.required or self.byte() % 2:
                made[field.encode_name] = self._of(field.type, depth + 1)
        if self._faults and made and self.byte() % 16 == 15:
            made.pop(list(made)[self.byte() % len(made)])
        if self._faults and self.byte() % 16 == 15:
            made[self.text()] = self.anything(depth + 1)
        return made
