"""Grammars of answers that may say anything, but whose calls are held to the tools' schemas.

    text … start, rest of the call … text … start, rest of the call … text

No text contains what begins a call (`CallFormat.starts`): behind that only a call can follow.
Tokens beside the trained vocabulary may stand between texts, save those that begin a call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from .tool_grammar import Form, Function, Rules, functions, in_regex, section

_SOME = "/(?s:.+)/"


class Around(NamedTuple):
    """What a module of `tool_parsers/` says in `AROUND` about the text around its calls, where its
    format's starts do not say all. Regular expressions are Rust's; %s stands for the tools' names.
    """

    starts: tuple[str, ...] = ()  # the texts that leave only a call; none: the format's
    never: tuple[str, ...] = ()  # texts that the parser would take for a part of a call
    never_like: str = ""  # what would be a call without a start within text
    first: str = ""  # the beginning of an answer that would be one
    after: str = ""  # what would be one right behind another call


class _Opened(NamedTuple):
    """A start with a token in it."""

    start: str
    before: str  # text in front of the token
    mark: str  # the token's
    token: int
    rest: str  # text behind it, up to the next token


def held_calls(
    forms: Sequence[Form],
    around: Around,
    starts: Sequence[str],
    rules: Rules,
    tools: Sequence[Mapping[str, Any]],
    added: Collection[int],
    texts: Mapping[str, str] | None = None,
) -> str:
    """The rule of such an answer. `starts` are the format's, `added` the tokens beside the trained
    vocabulary, `texts` as for `functions`. Raises ValueError for tools that the format cannot
    name."""
    starts = around.starts or starts
    chosen = functions(tools, texts)
    return rules.rule(_Answer(forms, around, starts, rules, chosen, added).lark())


class _Answer:
    """The parts of the grammar. Two texts never stand side by side: what is forbidden in one could
    be made of both.

        answer   piece? unit*
        piece    text  |  (text up to a start, the start, call)+ text?
        unit     token piece?  |  token of a start, its rest, call, piece?
                 |  token of a start, other text?
    """

    def __init__(
        self,
        forms: Sequence[Form],
        around: Around,
        starts: Sequence[str],
        rules: Rules,
        tools: list[Function],
        added: Collection[int],
    ) -> None:
        self._forms, self._rules, self._tools = forms, rules, tools
        self._starts = sorted(starts, key=len, reverse=True)
        self._opened = {start: opened for start in starts if (opened := _opened(rules, start))}
        self._first, self._after = self._with_names(around.first), around.after
        self._never = [*starts, *around.never]
        self._never_like = self._with_names(around.never_like)
        marks = [rules.pieces(text) for text in around.never]
        barred = {pieces[0].token for pieces in marks if len(pieces) == 1}
        self._added = sorted({*added} - barred - {each.token for each in self._opened.values()})

    def lark(self) -> str:
        units = f"({' | '.join(self._units())})*" if self._units() else ""
        bare = [form for form in self._forms if self._start_of(form) is None]
        if not bare:
            return f"{self._piece('')}? {units}"
        # The parser passes over space before a call without a start. It is apart from the text,
        # which otherwise would go on where such a call begins.
        piece = self._piece(rf"(\s|{self._first})")
        behind = self._piece(self._after)
        calls = " | ".join(f"{self._call(form, form.opening)} {behind}?" for form in bare)
        return f"/\\s+/? ({calls} | {piece})? {units}"

    def _piece(self, begin: str) -> str:
        """What may stand where no text is before; `begin` is how it does not begin, a regex."""
        rules = self._rules
        text = self._text(_SOME, begin)
        calls = self._spelled_calls(begin)
        if not calls:
            return text
        again = rules.rule(" | ".join(self._spelled_calls(self._after)))
        behind = self._text(_SOME, self._after)
        return rules.rule(f"({' | '.join(calls)}) {again}* {behind}? | {text}")

    def _spelled_calls(self, begin: str) -> list[str]:
        """Calls with the text before them."""
        found: list[str] = []
        for start in self._starts:
            opened = self._opened.get(start)
            if opened is None:
                text = self._text(f"/(?s:.*){in_regex(start)}/", begin, but=start)
                head, passed = self._rules.rule(text, attributes="[lazy]"), start
            elif opened.before:
                text = self._text(f"/(?s:.*){in_regex(opened.before)}/", begin)
                head, passed = f"{text} <[{opened.token}]>", opened.before + opened.mark
            else:
                continue
            found += [f"{head} {call}" for call in self._calls(start, passed)]
        return found

    def _units(self) -> list[str]:
        found: list[str] = []
        if self._added:
            listed = ",".join(map(str, self._added))
            found.append(f"<[{listed}]> {self._piece('')}?")
        behind = self._piece(self._after)
        rests: dict[int, list[str]] = {}
        for start, opened in self._opened.items():
            rests.setdefault(opened.token, []).append(opened.rest)
            if not opened.before:
                calls = self._calls(start, opened.mark)
                found += [f"<[{opened.token}]> {call} {behind}?" for call in calls]
        for token, texts in rests.items():
            if all(texts):
                other = self._text(_SOME, f"({'|'.join(map(in_regex, texts))})")
                found.append(f"<[{token}]> {other}?")
        return found

    def _text(self, kind: str, begin: str, *, but: str = "") -> str:
        """Text of this kind that contains nothing that begins a call, `but` this at its end."""
        never = [in_regex(text) for text in self._never if text != but]
        parts = [kind, *(f"~/(?s:.*){regex}(?s:.*)/" for regex in never)]
        if self._never_like:
            parts.append(f"~/(?s:.*){self._never_like}(?s:.*){in_regex(but)}/")
        if begin:
            parts.append(f"~/{begin}(?s:.*)/")
        return self._rules.rule(" & ".join(parts), terminal=True)

    def _calls(self, start: str, passed: str) -> list[str]:
        """What follows where `passed` of this start stands already."""
        return [
            self._call(form, form.opening[len(passed) :])
            for form in self._forms
            if self._start_of(form) == start
        ]

    def _call(self, form: Form, opening: str) -> str:
        between = form.between
        # Another start is another call, with text before it or without.
        several = between is not None and not any(start in between for start in self._starts)
        return section(form, self._rules, self._tools, opening, several=several)

    def _start_of(self, form: Form) -> str | None:
        return next((each for each in self._starts if form.opening.startswith(each)), None)

    def _with_names(self, regex: str) -> str:
        names = "|".join(in_regex(each.name) for each in self._tools)
        return regex.replace("%s", f"({names})")


def _opened(rules: Rules, start: str) -> _Opened | None:
    pieces = rules.pieces(start)
    for i, piece in enumerate(pieces):
        if piece.token is not None:
            before = "".join(each.text for each in pieces[:i])
            behind = pieces[i + 1 : i + 2]
            rest = behind[0].text if behind and behind[0].token is None else ""
            return _Opened(start, before, piece.text, piece.token, rest)
    return None
