"""Grammars of tool calls, for requests that demand one or hold them to their schemas.

A module of `tool_parsers/` says in `FORMS` how its models write calls, as data; here they become
llguidance's Lark, for the tools that a request declares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .grammar import in_slashes, json_rule, literal

MAX_CALLS = 16  # in one answer
MAX_LENGTH = 4 * 1024**2  # characters of a grammar
_PLAIN_NAME = re.compile(r"[\w.:/-]{1,256}")
_OBJECT = {"type": "object"}


class Function(NamedTuple):
    """A declared tool."""

    name: str
    schema: dict[str, Any]  # of its arguments, an object
    lenient: bool  # what of the schema cannot be enforced is passed over
    text: str | None = None  # a regex: its one argument is a text that matches it (a custom tool)


class Piece(NamedTuple):
    """A part of a text that a model writes."""

    text: str
    token: int | None  # that it is; None: the text is spelled

    @property
    def lark(self) -> str:
        return literal(self.text) if self.token is None else f"<[{self.token}]>"


class Rules:
    """The rules of a grammar while it is written.

    `marks` are texts that may be tokens beside the trained vocabulary, which `token` finds: to
    llguidance such a token is never the text that is spelled in the same way.
    """

    def __init__(
        self, marks: Sequence[str] = (), token: Callable[[str], int | None] = lambda mark: None
    ) -> None:
        longest_first = sorted(marks, key=len, reverse=True)
        self._marks = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._token = token
        self._names: dict[str, str] = {}  # right side → name
        self._length = 0  # of right sides

    def rule(self, body: str, *, attributes: str = "", terminal: bool = False) -> str:
        """The name of a rule with this right side. Raises ValueError when they are too long, all
        together: of a small schema each part may have all definitions with it."""
        body = f"{attributes}: {body}"
        if body not in self._names:
            self._length += len(body)
            if self._length > MAX_LENGTH:
                raise ValueError("the schemas of the tools make a grammar that is too large")
            self._names[body] = f"{'T' if terminal else 'r'}{len(self._names)}"
        return self._names[body]

    def source(self, start: str) -> str:
        """The whole grammar."""
        return "\n".join((f"start: {start}", *(f"{n}{body}" for body, n in self._names.items())))

    def text(self, text: str) -> str:
        """Exactly this text; "" for none."""
        return " ".join(piece.lark for piece in self.pieces(text))

    def until(self, closing: str) -> str:
        """Any text up to `closing`, and `closing`, which the text does not contain."""
        before = ""
        pieces = self.pieces(closing)
        for i, piece in enumerate(pieces):
            if piece.token is not None:
                text = f"/(?s:.*){in_regex(before)}/"
                spelled = f"/(?s:.*){in_regex(closing)}(?s:.*)/"
                rest = " ".join(each.lark for each in pieces[i:])
                return f"{self.rule(f'{text} & ~{spelled}', terminal=True)} {rest}"
            before += piece.text
        return self.rule("/(?s:.*)/", attributes=f"[suffix={literal(closing)}]")

    def matching(self, regexes: Sequence[str], closing: str, pad: str = "") -> str:
        """A text that all these match and that does not contain `closing`; then `pad` and
        `closing`."""
        wanted = " & ".join(f"/{in_slashes(regex)}/" for regex in regexes)
        text = f"{wanted} & ~/(?s:.*){in_regex(closing)}(?s:.*)/"
        pieces = self.pieces(pad + closing)
        first = next((i for i, piece in enumerate(pieces) if piece.token is not None), None)
        if first is None:
            body = self.rule(text, terminal=True)
            return self.rule(body, attributes=f"[suffix={literal(pad + closing)}]")
        before = "".join(piece.text for piece in pieces[:first])
        body = self.rule(f"({text}) {literal(before)}" if before else text, terminal=True)
        return " ".join((body, *(piece.lark for piece in pieces[first:])))

    def json(self, schema: Any, *, lenient: bool) -> str:
        return self.rule(json_rule(schema, lenient=lenient))

    def listed(self, items: Sequence[tuple[str, bool]], comma: str = "") -> str:
        """The items in this order, with commas between; those with True must be there."""
        rest = first = ""  # behind another item, and as the first
        may_be_empty = True
        for item, needed in reversed(items):
            first_with = f"{item} {rest}"
            if needed:
                rest = self.rule(f"{comma} {item} {rest}")
                first, may_be_empty = self.rule(first_with), False
            else:
                rest = self.rule(f"({comma} {item})? {rest}")
                either = f"{first_with} | {first}" if first else first_with
                first = self.rule(either)
        return f"({first})?" if first and may_be_empty else first

    def pieces(self, text: str) -> list[Piece]:
        """The text, token by token. What is spelled between two is one piece: llguidance would not
        go back to the end of the first of several where another text begins like them."""
        pieces: list[Piece] = []
        at = 0
        for match in self._marks.finditer(text):
            token = self._token(match[0])
            if token is not None:
                if plain := text[at : match.start()]:
                    pieces.append(Piece(plain, None))
                pieces.append(Piece(match[0], token))
                at = match.end()
        return [*pieces, Piece(text[at:], None)] if text[at:] else pieces


class Form(NamedTuple):
    """One way in which a model writes its calls: opening, call, between, call …, closing."""

    # With the text before it. Raises ValueError: this one cannot be written so.
    call: Callable[[Rules, Function, str], str]
    opening: str = ""
    closing: str = ""
    between: str | None = None  # None: there is only one call in an answer
    demanded: bool = True  # False: read where a model writes it, and never asked for


def calls(
    forms: Sequence[Form],
    rules: Rules,
    tools: Sequence[Mapping[str, Any]],
    *,
    name: str | None,
    parallel: bool,
    texts: Mapping[str, str] | None = None,
) -> str:
    """One call or, with `parallel`, several; of the tool `name` or of any; `texts` as for
    `functions`. Raises ValueError for tools that the format cannot name."""
    chosen = [each for each in functions(tools, texts) if name in (None, each.name)]
    written = [
        section(form, rules, chosen, form.opening, several=parallel)
        for form in forms
        if form.demanded
    ]
    return rules.rule(" | ".join(written))


def section(
    form: Form, rules: Rules, chosen: Sequence[Function], opening: str, *, several: bool
) -> str:
    """A call of one of these behind `opening` or, with `several`, more of them."""

    def one(before: str) -> str:
        return rules.rule(" | ".join(rules.rule(form.call(rules, f, before)) for f in chosen))

    more = ""
    if several and form.between is not None:
        more = f"({one(form.between)}){{0,{MAX_CALLS - 1}}}"
    return f"{one(opening)} {more} {rules.text(form.closing)}"


def json_call(before: str, after: str = "") -> Callable[[Rules, Function, str], str]:
    """Arguments as a JSON object; in `before`, %s is the name, %d a number."""

    def written(rules: Rules, function: Function, opening: str) -> str:
        arguments = rules.json(function.schema, lenient=function.lenient)
        head = with_name(rules, opening + before, function.name)
        return f"{head} {arguments} {rules.text(after)}"

    return written


def with_name(rules: Rules, text: str, name: str) -> str:
    """A text with the name in the place of %s, and a number in the place of %d."""
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"a tool named {name[:100]!r} cannot be demanded of this model")
    pieces = text.replace("%s", name).split("%d")
    return " /[0-9]{1,3}/ ".join(rules.text(piece) for piece in pieces)


def properties(function: Function) -> dict[str, Any]:
    """Parameter → its schema, which has the definitions that it may refer to with it."""
    found = function.schema.get("properties")
    shared = {
        key: function.schema[key] for key in ("$defs", "definitions") if key in function.schema
    }
    return {
        key: shared | value if isinstance(value, dict) else {}
        for key, value in (found if isinstance(found, dict) else {}).items()
    }


def required(function: Function) -> frozenset[str]:
    named = function.schema.get("required")
    return frozenset(named if isinstance(named, list) else ())


def functions(
    tools: Sequence[Mapping[str, Any]], texts: Mapping[str, str] | None = None
) -> list[Function]:
    """`texts`: tool → regex of the text that is its one argument."""
    return [_function(tool, (texts or {}).get(tool["function"]["name"])) for tool in tools]


def is_strict(tool: Mapping[str, Any]) -> bool:
    """Whether its calls must keep to its schema, and all of it be enforced."""
    return tool["function"].get("strict") is True


def _function(tool: Mapping[str, Any], text: str | None) -> Function:
    function = tool["function"]
    schema = _OBJECT | (function.get("parameters") or {})
    if text is None:
        return Function(function["name"], schema, not is_strict(tool))
    matching = {"type": "string", "pattern": f"^(?:{text})$"}
    schema = {
        **schema,
        "properties": dict.fromkeys(schema.get("properties") or {}, matching),
        "additionalProperties": False,
    }
    return Function(function["name"], schema, lenient=False, text=text)


def in_regex(text: str) -> str:
    """The regex, between slashes, that matches just this."""
    return re.sub(r"[][/\\.*+?(){}|^$-]", r"\\\g<0>", text).replace("\n", r"\n")
