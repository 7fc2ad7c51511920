"""Token rows of one choice in, events out.

    tokens → text → reasoning parser → tool parser → stop strings → events

Stop strings are looked for in the visible answer only: thinking and tool calls pass them by. (vLLM
and llama.cpp search all output, so that a "\\n" ends the thinking; OpenAI's reasoning models refuse
`stop` altogether.) The common case, plain text with nothing to look for, is one dictionary lookup
and one decoding a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..protocol.events import (
    ChosenLogprob,
    Echo,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallStarted,
)
from ..protocol.wire import TokenRow
from .model_text import ModelText
from .stops import StopMatcher


class Echoed(NamedTuple):
    """A prompt that its completion begins with; without text, one whose log probabilities alone
    are told."""

    text: str
    first_token: int
    only: bool  # nothing is to follow: the first row brings log probabilities, its token is dropped


class TextStream:
    """The text of one choice while it is generated.

    `tools` are the tools of the request, if it allows them; `chat=False` is for completions: no
    parser touches the text. `continues` says that the output continues text that the client already
    has (`ChatPrompt.continues`; always so in completions), which keeps a leading space.

    `logprobs` is the number of alternatives a token to report, None for no log probabilities at
    all. Those of the answer's tokens are reported, each with the text that it belongs to or, when
    it has none (markup, a part of a character), with the next. Thinking is not reported, nor is the
    stop token of a chat; in completions it is, as those who score texts count the tokens.

    `thinking_budget` is the number of tokens that the thinking may take. Once they are used up
    `over_budget` is set and no further token is looked at: whoever feeds the stream gives it the
    tokens that end the thinking, after setting it back. With `parallel_calls=False` the first tool
    call that is complete ends the choice.
    """

    def __init__(
        self,
        index: int,
        model_text: ModelText,
        *,
        stop: tuple[str, ...] = (),
        tools: Sequence[Mapping[str, Any]] = (),
        reasoning_open: bool = False,
        logprobs: int | None = None,
        chat: bool = True,
        continues: bool = False,
        thinking_budget: int | None = None,
        parallel_calls: bool = True,
        echo: Echoed | None = None,
    ) -> None:
        tools = tools if chat else ()
        self.finished: Finished | None = None  # its last event, once that is out
        self.output_tokens = 0
        self.reasoning_tokens = 0
        self.stopped = False  # Finished is out before the engine's end: abort the sequence
        self.over_budget = False  # see `thinking_budget`
        self._index = index
        self._tokenizer = model_text.tokenizer
        self._detokenizer = self._tokenizer.detokenizer(
            shown=model_text.markers(tools=bool(tools)) if chat else frozenset(),
            continues=continues or not chat,
        )
        self._reasoning = model_text.new_reasoning_parser(index, reasoning_open) if chat else None
        self._tools = model_text.new_tool_parser(index, tools) if tools else None
        self._stops = StopMatcher(stop) if any(stop) else None
        self._thinking_budget = thinking_budget
        self._parallel_calls = parallel_calls
        self._top_logprobs = logprobs
        self._chat = chat
        self._echo = echo
        self._logprobs: list[ChosenLogprob] = []  # of tokens whose text is still to come
        self._plain = False
        self._see_whether_plain()

    def push(self, row: TokenRow) -> list[Event]:
        """Events of one row; the last ones of the choice end with `Finished`.

        After that (the row's `finish`, or a stop string) every push returns nothing.
        """
        if self.finished or self.over_budget:
            return []
        tokens = row.tokens
        if self._plain and row.finish is None and tokens:
            self.output_tokens += len(tokens)
            text = self._detokenizer.push(tokens)
            return [TextDelta(self._index, text)] if text else []
        return self._push_tokens(row)

    def _push_tokens(self, row: TokenRow) -> list[Event]:
        events: list[Event] = []
        if self._echo is not None:
            self._begin(self._echo, row, events)
            if self.finished:
                return events
        count = len(row.tokens)
        with_text = count - 1 if row.finish == "stop" and count else count
        for place, token in enumerate(row.tokens[:with_text]):
            self.output_tokens += 1
            self._note_logprobs(row, place)
            self._take(self._detokenizer.push((token,)), events)
            if self.finished or self.over_budget:
                return events
        if with_text < count:
            self.output_tokens += 1
            if not self._chat:
                self._note_logprobs(row, with_text)
        if row.finish is not None:
            self._finish("stop" if row.finish == "stop" else "length", events)
        return events

    def _begin(self, echo: Echoed, row: TokenRow, events: list[Event]) -> None:
        self._echo = None
        self._see_whether_plain()
        first = None
        if row.prompt_logprobs is not None:
            first, _ = self._tokenizer.label(echo.first_token)
        entries = row.prompt_logprobs or ()
        logprobs = tuple(map(self._chosen, entries))
        ids = tuple(tuple(entry.token_id for entry in each) for each in entries)
        events.append(Echo(self._index, echo.text, first, logprobs, ids))
        if echo.only:
            self.stopped = True
            self._end("length", None, events)

    def _take(self, text: str, events: list[Event]) -> None:
        """One token's text, often empty."""
        reasoning = self._reasoning
        if reasoning is None:
            if text:
                self._answer(text, events)
            return
        was_open = reasoning.open
        if text:
            self._sort(reasoning.push(text), events)
        if was_open or reasoning.open:
            self.reasoning_tokens += 1
            if not reasoning.done:
                self._logprobs.clear()
            if reasoning.open and self.reasoning_tokens == self._thinking_budget:
                self.over_budget = True
        if reasoning.done:
            self._reasoning = None
            self._see_whether_plain()

    def _sort(self, parsed: list[Event], events: list[Event]) -> None:
        """What came out of the reasoning parser."""
        for event in parsed:
            if self.finished:
                return
            if isinstance(event, ReasoningDelta):
                self._logprobs.clear()
                events.append(event)
            elif isinstance(event, TextDelta):
                self._answer(event.text, events)

    def _answer(self, text: str, events: list[Event]) -> None:
        if self._tools is None:
            self._show(text, events)
        else:
            self._use(self._tools.push(text), events)

    def _use(self, parsed: list[Event], events: list[Event]) -> None:
        """What came out of the tool parser."""
        for event in parsed:
            if self.finished:
                return
            if isinstance(event, TextDelta):
                self._show(event.text, events)
            else:
                assert self._tools is not None
                self._release(events)  # a stop string does not reach across a call
                if isinstance(event, ToolCallStarted) and event.call and not self._parallel_calls:
                    break
                events.append(event)
        if self._tools is not None and self._tools.completed and not self._parallel_calls:
            self.stopped = True
            self._end("stop", None, events)

    def _show(self, text: str, events: list[Event]) -> None:
        stops = self._stops
        if stops is None:
            self._emit(text, events)
            return
        text = stops.push(text)
        if text:
            self._emit(text, events)
        if stops.matched is not None:
            self.stopped = True
            self._end("stop", stops.matched, events)

    def _release(self, events: list[Event]) -> None:
        if self._stops is not None and (held := self._stops.flush()):
            self._emit(held, events)

    def _emit(self, text: str, events: list[Event]) -> None:
        if self._logprobs:
            events.append(TextDelta(self._index, text, tuple(self._logprobs)))
            self._logprobs.clear()
        else:
            events.append(TextDelta(self._index, text))

    def _finish(self, reason: FinishReason, events: list[Event]) -> None:
        """No token follows: everything that is held back comes out."""
        if text := self._detokenizer.finish():
            if self._reasoning is not None:
                self._sort(self._reasoning.push(text), events)
            else:
                self._answer(text, events)
        if self._reasoning is not None:
            self._sort(self._reasoning.finish(), events)
        if self._tools is not None and not self.finished:
            self._use(self._tools.finish(), events)
        if not self.finished:
            self._release(events)
            self._end(reason, None, events)

    def _end(self, reason: FinishReason, stop: str | None, events: list[Event]) -> None:
        if self._logprobs:
            self._emit("", events)
        if reason == "stop" and self._tools is not None and self._tools.completed:
            reason = "tool_calls"
        self.finished = Finished(self._index, reason, stop)
        events.append(self.finished)

    def _see_whether_plain(self) -> None:
        looked_at = (self._reasoning, self._tools, self._stops, self._top_logprobs, self._echo)
        self._plain = all(nothing is None for nothing in looked_at)

    def _note_logprobs(self, row: TokenRow, place: int) -> None:
        if self._top_logprobs is not None and row.logprobs is not None:
            self._logprobs.append(self._chosen(row.logprobs[place][: 1 + self._top_logprobs]))

    def _chosen(self, entries: list[TokenLogprob]) -> ChosenLogprob:
        label = self._tokenizer.label
        chosen, *likeliest = entries
        text, data = label(chosen.token_id)
        alternatives = [(*label(entry.token_id), entry.logprob) for entry in likeliest]
        return ChosenLogprob(text, data, chosen.logprob, tuple(alternatives))
