"""Lark grammars as one regular expression: for texts within the JSON, or the tags, of a call.

llguidance can follow a regular expression through JSON's escapes, which it cannot with rules. A
rule that repeats itself at its beginning or end is a repetition; one that nests is written out, as
deep as the size allows.

    list: list "," item | item          item("," item)*
    group: "(" group ")" | item         \\((\\((…)\\)|item)\\)|item
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from .lark_source import START, Either, Expr, Ref, Repeat, Sequence, Terminal, read_lark

MAX_DEPTH = 8  # of rules within themselves
MAX_LENGTH = 50_000  # characters
MAX_SOURCE = 100_000  # characters of the grammar
_MAX_STEPS = 20_000
_LONG_STEP = 64  # characters that count as another one


@lru_cache(64)
def as_regex(source: str) -> str:
    """In Rust's syntax, without anchors. Raises ValueError for what is no Lark, or not of the kind
    that can be written so. It holds everybody up, but not for long."""
    if len(source) > MAX_SOURCE:
        raise ValueError(f"the grammar is too large: it has more than {MAX_SOURCE:,} characters")
    try:
        rules = read_lark(source)
        loops = {name: _unrolled(name, expr) for name, expr in rules.items()}
        best: str | None = None
        for depth in range(1, MAX_DEPTH + 1):
            try:
                found = _Writer(loops, depth).text(Ref(START))
            except _TooLarge:
                break
            if found == best and best is not None:
                break  # nothing is nested (any deeper)
            best = found if found is not None else best
    except RecursionError:
        best = None
    if best is None:
        raise ValueError("the grammar is too large, or nothing can satisfy it")
    return best


class _TooLarge(Exception):
    pass


class _Writer:
    """Writes rules out, each within itself `depth` times at most."""

    def __init__(self, rules: Mapping[str, Expr], depth: int) -> None:
        self._rules = rules
        self._depth = depth
        self._inside: dict[str, int] = {}  # rule → how often we are within it; none is 0
        self._known: dict[tuple[int, frozenset[tuple[str, int]]], str | None] = {}
        self._steps = 0

    def text(self, expr: Expr) -> str | None:
        """None: nothing can be this, so deep within itself."""
        key = id(expr), frozenset(self._inside.items())
        self._steps += 1 + len(self._inside) // _LONG_STEP
        if key not in self._known:
            written = self._known[key] = self._written(expr)
            length = 0 if written is None else len(written)
            self._steps += length // _LONG_STEP
            if length > MAX_LENGTH:
                raise _TooLarge
        if self._steps > _MAX_STEPS:
            raise _TooLarge
        return self._known[key]

    def _written(self, expr: Expr) -> str | None:
        match expr:
            case Terminal(regex):
                return f"(?:{regex})" if "|" in regex else regex
            case Ref(name):
                if name not in self._rules:
                    raise ValueError(f"{name} is not defined")
                before = self._inside
                if before.get(name) == self._depth:
                    return None
                self._inside = before | {name: before.get(name, 0) + 1}
                written = self.text(self._rules[name])
                self._inside = before
                return written
            case Sequence(parts):
                texts = [self.text(part) for part in parts]
                return None if None in texts else "".join(text for text in texts if text)
            case Either(choices):
                texts = [text for each in choices if (text := self.text(each)) is not None]
                return f"(?:{'|'.join(dict.fromkeys(texts))})" if texts else None
            case Repeat(part, least, most):
                written = self.text(part)
                if not written:  # nothing, or the empty text
                    return "" if written == "" or least == 0 else None
                return f"(?:{written}){_times(least, most)}"


def _times(least: int, most: int | None) -> str:
    short = {(0, 1): "?", (0, None): "*", (1, None): "+"}.get((least, most))
    return short or f"{{{least},{'' if most is None else most}}}"


def _unrolled(name: str, expr: Expr) -> Expr:
    """A rule that is, of its choices, A B | A c | d A | e: (d* e c*) (B (d* e c*))*, where B stands
    between two A."""
    before: list[Expr] = []
    between: list[Expr] = []
    after: list[Expr] = []
    alone: list[Expr] = []
    own = Ref(name)
    for parts in _choices(expr, own):
        first, last = parts[:1] == (own,), parts[-1:] == (own,)
        if first and len(parts) == 1:
            continue  # says nothing
        if first and last:
            between.append(Sequence(parts[1:-1]))
        elif first:
            after.append(Sequence(parts[1:]))
        elif last:
            before.append(Sequence(parts[:-1]))
        else:
            alone.append(Sequence(parts))
    if not (before or between or after):
        return expr
    whole: Expr = Sequence(
        (
            Repeat(Either(tuple(before)), 0, None),
            Either(tuple(alone)),
            Repeat(Either(tuple(after)), 0, None),
        )
    )
    more = Repeat(Sequence((Either(tuple(between)), whole)), 0, None)
    return Sequence((whole, more))


def _choices(expr: Expr, own: Ref) -> list[tuple[Expr, ...]]:
    """The choices as sequences; `(… own)?` at the end, or `(own …)?` at the beginning, makes two of
    one."""
    if isinstance(expr, Either):
        return [parts for choice in expr.choices for parts in _choices(choice, own)]
    found = [_flat(expr)]
    for end in (0, -1):
        found = [each for parts in found for each in _without_or_with(parts, end, own)]
    return found


def _flat(expr: Expr) -> tuple[Expr, ...]:
    if isinstance(expr, Sequence):
        return tuple(part for each in expr.parts for part in _flat(each))
    return (expr,)


def _without_or_with(parts: tuple[Expr, ...], end: int, own: Ref) -> list[tuple[Expr, ...]]:
    match parts[end] if parts else None:
        case Repeat(part, 0, 1) if (inner := _flat(part)) and inner[end] == own:
            rest = parts[1:] if end == 0 else parts[:-1]
            return [rest, (*inner, *rest) if end == 0 else (*rest, *inner)]
    return [parts]
