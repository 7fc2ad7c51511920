"""What a request demands of its output, as one grammar: calls, a form of the answer, or both.

tool_choice required                  calls, perhaps after thinking
a form of the answer                  it, or calls where there are tools
a strict tool, or a custom one with   anything, but calls keep to the schemas (`held_calls`)
a grammar; otherwise anything
neither                               no grammar
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol.errors import BadRequest
from ..protocol.grammar import Grammar, Thinking
from ..protocol.requests import ChatRequest
from .grammar import as_rule
from .held_calls import Around, held_calls
from .tool_grammar import Rules, calls, is_strict

if TYPE_CHECKING:
    from .tokenizer import Tokenizer


def held_tools(request: ChatRequest) -> list[dict[str, Any]]:
    """The tools whose calls are held to their schemas: all, or none."""
    if request.tool_choice == "none":
        return []
    asked = request.tool_choice == "required" or request.grammar is not None
    return request.tools if asked or any(_holders(request)) else []


def _holders(request: ChatRequest) -> Iterator[str]:
    """The fields because of which calls are held."""
    for number, tool in enumerate(request.tools):
        if is_strict(tool):
            yield f"tools[{number}].function.strict"
        elif (pattern := request.input_patterns.get(tool["function"]["name"])) is not None:
            yield pattern.param


class AnswerGrammar:
    """For one model; the modules are its parsers."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        tool_parser: ModuleType | None,
        reasoning_parser: ModuleType | None,
    ) -> None:
        self._tokenizer = tokenizer
        self._tool_parser = tool_parser
        self._reasoning_parser = reasoning_parser

    def of(self, request: ChatRequest, *, may_think: bool, thinking: bool) -> Grammar | None:
        """`may_think` and `thinking` (it has begun) are of the prompt. None when anything goes.

        Raises BadRequest for what cannot be demanded of this model.
        """
        try:
            return self._of(request, may_think, thinking)
        except ValueError as error:
            param = request.grammar_param or "tools"
            raise BadRequest(f"{param}: {error}.", param=param) from error

    def _of(self, request: ChatRequest, may_think: bool, thinking: bool) -> Grammar | None:
        """Raises BadRequest, and ValueError for a grammar that is too large."""
        answer, tools = request.grammar, held_tools(request)
        required = request.tool_choice == "required"
        free = answer is None and not required
        if free and self._tool_parser is None:  # nothing that it says is a call
            tools = []
        frame = getattr(self._reasoning_parser, "frame", None) if may_think else None
        if not tools:
            if answer is None:
                return None
            if frame is None:
                return self._behind_thinking(answer, may_think, thinking)
        rules = Rules(
            (*_marks(self._tool_parser), *_marks(self._reasoning_parser if frame else None)),
            self._tokenizer.added_token_id,
        )
        ruled = None
        if answer is not None and not required:
            ruled = rules.rule(as_rule(answer))
        if frame is None and free:
            start = self._held(rules, request, tools)
        else:
            demanded = self._calls(rules, request, tools) if tools else None
            if frame is not None:
                start = frame(rules, demanded, ruled, opened=thinking, free=free)
                return Grammar("lark", rules.source(start))
            start = " | ".join(each for each in (demanded, ruled) if each)
        return self._behind_thinking(Grammar("lark", rules.source(start)), may_think, thinking)

    def _calls(self, rules: Rules, request: ChatRequest, tools: list[dict[str, Any]]) -> str:
        if request.tool_choice == "required":
            param = "tool_choice"
        else:
            param = request.grammar_param or next(_holders(request))
        forms = getattr(self._tool_parser, "FORMS", None)
        if forms is None:
            raise _no_forms(param)
        name, parallel = request.tool_name, request.parallel_tool_calls
        try:
            return calls(forms, rules, tools, name=name, parallel=parallel, texts=_texts(request))
        except ValueError as error:
            raise BadRequest(f"{param}: {error}.", param=param) from error

    def _held(self, rules: Rules, request: ChatRequest, tools: list[dict[str, Any]]) -> str:
        param = next(_holders(request))
        module = self._tool_parser
        forms = getattr(module, "FORMS", None)
        format_ = getattr(getattr(module, "Parser", None), "format", None)
        if forms is None or format_ is None:
            raise _no_forms(param)
        around = getattr(module, "AROUND", Around())
        try:
            added = self._tokenizer.added_ids
            starts, texts = format_.starts, _texts(request)
            return held_calls(forms, around, starts, rules, tools, added, texts)
        except ValueError as error:
            raise BadRequest(f"{param}: {error}.", param=param) from error

    def _behind_thinking(self, grammar: Grammar, may_think: bool, opened: bool) -> Grammar:
        if not may_think:
            return grammar
        marks = (
            getattr(self._reasoning_parser, "OPEN", ""),
            getattr(self._reasoning_parser, "CLOSE", ""),
        )
        if not all(isinstance(mark, str) and mark for mark in marks):
            raise BadRequest(
                "The format of the answer cannot be demanded of this model: its thinking has no "
                "marks that fastmlx could wait for."
            )
        return msgspec.structs.replace(grammar, thinking=Thinking(*marks, opened))


def _texts(request: ChatRequest) -> dict[str, str]:
    return {name: pattern.regex for name, pattern in request.input_patterns.items()}


def _no_forms(param: str) -> BadRequest:
    return BadRequest(
        f"{param}: calls in this model's tool format cannot be held to a grammar; only tool_choice "
        "auto and none, without strict tools, grammars of custom tools or a format of the answer, "
        "can.",
        param=param,
    )


def _marks(module: ModuleType | None) -> tuple[str, ...]:
    return getattr(module, "MARKS", module.MARKERS) if module else ()
