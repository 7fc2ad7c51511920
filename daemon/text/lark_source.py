"""Lark grammars, read: rules of the parts that OpenAI's custom tools may use.

Every terminal is a regular expression in Rust's syntax; behind any of them may stand what `%ignore`
names.

Sources: https://lark-parser.readthedocs.io/en/latest/grammar.html,
https://platform.openai.com/docs/guides/function-calling#context-free-grammars
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from .tool_grammar import in_regex

START = "start"
_COMMON = {  # what `%import common.X` means
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[a-fA-F0-9]",
    "INT": "[0-9]+",
    "SIGNED_INT": "[+-]?[0-9]+",
    "DECIMAL": r"([0-9]+\.[0-9]*|\.[0-9]+)",
    "FLOAT": r"([0-9]+[eE][+-]?[0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?)",
    "SIGNED_FLOAT": r"[+-]?([0-9]+[eE][+-]?[0-9]+|([0-9]+\.[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?)",
    "NUMBER": r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?",
    "SIGNED_NUMBER": r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?",
    "ESCAPED_STRING": r'"([^"\\\n]|\\.)*"',
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[a-zA-Z]",
    "WORD": "[a-zA-Z]+",
    "CNAME": "[_a-zA-Z][_a-zA-Z0-9]*",
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(\r?\n)+",
    "SH_COMMENT": r"#[^\n]*",
    "CPP_COMMENT": r"//[^\n]*",
    "C_COMMENT": r"/\*([^*]|\*+[^*/])*\*+/",
    "SQL_COMMENT": r"--[^\n]*",
}
_TOKEN = re.compile(
    r"""(?P<space>[ \t\f]+|(?://|\#)[^\n]*)
    |(?P<newline>(?:\r?\n)+)
    |(?P<string>"(?:\\.|[^"\\\n])*"i?)
    |(?P<regex>/(?:\\.|[^/\\])+/[imslux]*)
    |(?P<name>[A-Za-z_](?:\w|-(?!>))*)
    |(?P<number>[0-9]+)
    |(?P<mark>->|\.\.|%[a-z]+|[][(){}|*+?~:,.!&])""",
    re.VERBOSE | re.DOTALL,
)


class Terminal(NamedTuple):
    regex: str


class Ref(NamedTuple):
    name: str


class Sequence(NamedTuple):
    parts: tuple[Expr, ...]


class Either(NamedTuple):
    choices: tuple[Expr, ...]


class Repeat(NamedTuple):
    part: Expr
    least: int
    most: int | None  # None: any number


Expr = Terminal | Ref | Sequence | Either | Repeat


class _Token(NamedTuple):
    kind: str
    text: str


def read_lark(source: str) -> dict[str, Expr]:
    """The rules by name, among them `start`. Raises ValueError."""
    reader = _Reader(_tokens(source))
    rules = reader.read()
    if START not in rules:
        raise ValueError("the grammar has no rule named start")
    return rules


def _tokens(source: str) -> list[_Token]:
    found: list[_Token] = []
    place = 0
    while place < len(source):
        match = _TOKEN.match(source, place)
        if match is None:
            line = source.count("\n", 0, place) + 1
            raise ValueError(f"line {line} has {source[place]!r} where nothing like it can stand")
        place = match.end()
        kind = match.lastgroup or ""
        if kind != "space":
            found.append(_Token(kind, match[0]))
    return [*found, _Token("newline", "\n"), _Token("end", "")]


class _Reader:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._rules: dict[str, Expr] = {}
        self._ignored: list[Expr] = []
        self._in_terminal = False

    def read(self) -> dict[str, Expr]:
        while self._next.kind != "end":
            if self._next.kind == "newline":
                self._at += 1
            elif self._next.text.startswith("%"):
                self._directive()
            else:
                self._rule()
        if not self._ignored:
            return self._rules
        ignored = Repeat(Either(tuple(self._ignored)), 0, None)
        return {
            name: expr if _is_terminal(name) else _with(expr, ignored)
            for name, expr in self._rules.items()
        }

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, text: str) -> bool:
        found = self._next.kind in ("mark", "newline") and self._next.text == text
        self._at += found
        return found

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise ValueError(
                f"{self._next.text.strip() or 'the end'!r} stands where {text!r} should"
            )

    def _kind(self, kind: str) -> str:
        token = self._next
        if token.kind != kind:
            raise ValueError(f"{token.text.strip() or 'the end'!r} stands where a {kind} should")
        self._at += 1
        return token.text

    def _directive(self) -> None:
        directive = self._kind("mark")
        if directive == "%ignore":
            self._in_terminal = True
            self._ignored.append(self._either())
        elif directive == "%import":
            self._import()
        else:
            raise ValueError(f"{directive} cannot stand in it")
        self._kind("newline")

    def _import(self) -> None:
        path = [self._kind("name")]
        while self._take("."):
            path.append(self._kind("name"))
        names = [path[-1]]
        if self._take("("):
            names = [self._kind("name")]
            while self._take(","):
                names.append(self._kind("name"))
            self._expect(")")
        own = self._kind("name") if self._take("->") else None
        for name in names:
            if path[0] != "common" or name not in _COMMON:
                raise ValueError(f"{'.'.join([path[0], name])} cannot be imported")
            self._rules[own or name] = Terminal(_COMMON[name])

    def _rule(self) -> None:
        while self._take("?") or self._take("!"):
            pass
        name = self._kind("name")
        if self._take("."):
            self._kind("number")  # a priority: of two readings of a text, which are no matter here
        self._expect(":")
        if name in self._rules:
            raise ValueError(f"{name} is defined twice")
        self._in_terminal = _is_terminal(name)
        self._rules[name] = self._either()
        self._kind("newline")

    def _either(self) -> Expr:
        choices = [self._sequence()]
        while self._goes_on():
            choices.append(self._sequence())
        return choices[0] if len(choices) == 1 else Either(tuple(choices))

    def _goes_on(self) -> bool:
        """With another choice, perhaps in the next line."""
        here = self._at
        while self._next.kind == "newline":
            self._at += 1
        if self._take("|"):
            return True
        self._at = here
        return False

    def _sequence(self) -> Expr:
        parts: list[Expr] = []
        while (part := self._part()) is not None:
            parts.append(part)
        if self._take("->"):
            self._kind("name")
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _part(self) -> Expr | None:
        part = self._atom()
        if part is None:
            return None
        while True:
            if self._take("?"):
                part = Repeat(part, 0, 1)
            elif self._take("*"):
                part = Repeat(part, 0, None)
            elif self._take("+"):
                part = Repeat(part, 1, None)
            elif self._take("~"):
                least = int(self._kind("number"))
                part = Repeat(part, least, int(self._kind("number")) if self._take("..") else least)
            elif self._take("{"):
                part = self._counted(part)
            else:
                return part

    def _counted(self, part: Expr) -> Expr:
        """`{2}`, `{2,}`, `{,3}`, `{2,3}`, behind the brace."""
        least = int(self._kind("number")) if self._next.kind == "number" else 0
        most: int | None = least
        if self._take(","):
            most = int(self._kind("number")) if self._next.kind == "number" else None
        self._expect("}")
        return Repeat(part, least, most)

    def _atom(self) -> Expr | None:
        token = self._next
        match token.kind:
            case "name":
                self._at += 1
                return Ref(token.text)
            case "string":
                self._at += 1
                if self._take(".."):
                    return Terminal(_range(token.text, self._kind("string")))
                return Terminal(_literal(token.text))
            case "regex":
                self._at += 1
                return Terminal(_regex(token.text))
        for opening, closing in ("()", "[]"):
            if self._take(opening):
                inside = self._either()
                while self._next.kind == "newline":
                    self._at += 1
                self._expect(closing)
                return inside if opening == "(" else Repeat(inside, 0, 1)
        if token.text in ("&", "~", "%json", "%lark", "%regex"):
            raise ValueError(f"{token.text} cannot stand in it")
        return None


def _is_terminal(name: str) -> bool:
    return name.lstrip("_")[:1].isupper()


def _with(expr: Expr, ignored: Expr) -> Expr:
    """The same of a rule, with `ignored` behind its terminals."""
    match expr:
        case Terminal():
            return Sequence((expr, ignored))
        case Ref(name):
            return Sequence((expr, ignored)) if _is_terminal(name) else expr
        case Sequence(parts):
            return Sequence(tuple(_with(part, ignored) for part in parts))
        case Either(choices):
            return Either(tuple(_with(choice, ignored) for choice in choices))
        case Repeat(part, least, most):
            return Repeat(_with(part, ignored), least, most)


def _text(written: str) -> str:
    """Of a string, quotation marks and all."""
    try:
        return json.loads(re.sub(r"\\x(?=[0-9a-fA-F]{2})", r"\\u00", written), strict=False)
    except ValueError as error:
        raise ValueError(f"{written[:100]} has an escape that means nothing") from error


def _literal(written: str) -> str:
    if written.endswith("i"):
        return f"(?i:{in_regex(_text(written[:-1]))})"
    return in_regex(_text(written))


def _range(first: str, last: str) -> str:
    ends = [_text(each) if each.endswith('"') else "" for each in (first, last)]
    if not all(len(each) == 1 for each in ends) or ends[0] > ends[1]:
        raise ValueError(f"{first[:20]}..{last[:20]} is no range of characters")
    return f"[{'-'.join(map(in_regex, ends))}]"


def _regex(written: str) -> str:
    body, _, flags = written[1:].rpartition("/")
    if "l" in flags:
        raise ValueError("the flag l of regular expressions is not known here")
    body = body.replace(r"\/", "/")
    flags = "".join(sorted({*flags} - {"u"}))
    return f"(?{flags}:{body})"
