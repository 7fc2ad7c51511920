"""Grammars of calls whose arguments are written one tag a parameter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..grammar import literal
from ..tool_grammar import Function, Rules, properties, required, with_name
from ._bounds import bounds
from ._schemas import STRING, parameter_types, resolved

_KEY = re.compile(r'[^<>"\s]([^<>"\n]{0,254}[^<>"\s])?')
_ANY_KEY = "/[A-Za-z_][A-Za-z0-9_]{0,63}/"
_OPEN_ENDED = ("anyOf", "oneOf", "allOf", "$ref", "patternProperties", "additionalProperties")
MAX_ANY = 32  # parameters of a tool that does not name them


class TagCall(NamedTuple):
    """Where strings stand as they are and other values as JSON, before `closing`. Nothing keeps a
    string within such JSON from spelling `closing`, which ends the value to the parser."""

    before: str  # up to the first parameter; %s is the name, %d a number
    parameter: str  # up to the value; %s is the key, %k the kind
    closing: str  # behind the value; %s is the key
    between: str  # behind `closing`
    after: str  # behind the last parameter
    pad: str = ""  # behind a value that is no string
    kinds: tuple[str, str] = ("", "")  # what %k is for a string, and for another value; "" stands
    # for the schema's own type
    newlines: bool = False  # one newline on either side of a value belongs to the markup

    def __call__(self, rules: Rules, function: Function, opening: str) -> str:
        needed = required(function)
        kinds = parameter_types(function.schema)
        items = [
            (
                self._text(rules, key, [function.text])
                if function.text is not None
                else self._parameter(
                    rules, key, schema, kinds.get(key, frozenset()), lenient=function.lenient
                ),
                key in needed,
            )
            for key, schema in properties(function).items()
        ]
        parameters = rules.listed(items)
        open_ended = any(function.schema.get(key) for key in _OPEN_ENDED)
        if not items and open_ended and "%s" not in self.closing:
            before, behind = self._opening("\0", self.kinds[0], "string").split("\0")
            any_of = f"{rules.text(before)} {_ANY_KEY} {rules.text(behind)}"
            value = f"{rules.until(self.closing)} {rules.text(self.between)}"
            parameters = f"({any_of} {value}){{0,{MAX_ANY}}}"
        head = with_name(rules, opening + self.before, function.name)
        return f"{head} {parameters} {rules.text(self.after)}"

    def _text(self, rules: Rules, key: str, regexes: Sequence[str]) -> str:
        """A parameter whose value is a text that all these match."""
        opening = self._opening(key, self.kinds[0], "string")
        closing = self.closing.replace("%s", key)
        lead = "\n" if self.newlines and not opening.endswith("\n") else ""
        value = rules.matching(regexes, closing, "\n" if self.newlines else "")
        return rules.rule(f"{rules.text(opening + lead)} {value} {rules.text(self.between)}")

    def _parameter(
        self,
        rules: Rules,
        key: str,
        schema: dict[str, Any],
        types: frozenset[str],
        *,
        lenient: bool,
    ) -> str:
        if not _KEY.fullmatch(key):
            raise ValueError(f"a parameter named {key[:100]!r} cannot be demanded of this model")
        between, closing = rules.text(self.between), self.closing.replace("%s", key)
        text, value = self._opening(key, self.kinds[0], "string"), rules.until(closing)
        if types == STRING and (words := _words(resolved(schema, schema), closing)):
            choices = " | ".join(map(literal, words))
            value = f"({choices}) {rules.text(self.pad + closing)}"
        elif types == STRING and not lenient and (asked := _bounds(resolved(schema, schema))):
            return self._text(rules, key, asked)
        as_text = f"{rules.text(text)} {value} {between}"
        kind = schema.get("type")
        other = self._opening(key, self.kinds[1], kind if isinstance(kind, str) else "object")
        as_json = (
            f"{rules.text(other)} {rules.json(schema, lenient=lenient)} "
            f"{rules.text(self.pad + closing)} {between}"
        )
        if types == STRING:
            return rules.rule(as_text)
        if types and "string" not in types:
            return rules.rule(as_json)
        if "%k" in self.parameter:
            return rules.rule(f"{as_text} | {as_json}")
        return rules.rule(as_text)  # the parser finds out what it is

    def _opening(self, key: str, kind: str, type_: str) -> str:
        return self.parameter.replace("%s", key).replace("%k", kind or type_)


def _bounds(schema: Any) -> list[str]:
    return bounds(schema) if isinstance(schema, dict) else []


def _words(schema: Any, closing: str) -> list[str]:
    """The texts that the value may be, none if it may be any."""
    words = schema.get("enum", [schema["const"]] if "const" in schema else [])
    usable = isinstance(words, list) and all(
        isinstance(word, str) and closing not in word and word == word.strip("\n") for word in words
    )
    return words if usable else []
