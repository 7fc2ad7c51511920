"""What a chat request gets back: the stream of chunks, or the one object.

A stream's chunks differ in a few characters, so each kind of chunk is cut once into what stands
before and behind the text; a token then costs one JSON string, not one JSON object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..protocol.events import (
    ChoiceEvent,
    ChosenLogprob,
    Counted,
    Echo,
    Event,
    Finished,
    McpCall,
    Prefilled,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStarted,
    Usage,
)
from .custom_input import InputStream
from .openai_answer import CUT, CUT_JSON, Collected, Envelope, Frames
from .openai_custom import call_object
from .openai_logprobs import logprobs_object, prompt_logprobs_object
from .openai_usage import usage_object
from .sse import json_text


def mcp_call_object(call: McpCall) -> dict[str, Any]:
    """A call of an MCP tool that the daemon makes, as a stream's `mcp_call` and an answer's
    `mcp_calls` show it."""
    running = call.status == "running"
    return {
        "id": call.id,
        "server": call.server,
        "name": call.name,
        "arguments": call.arguments,
        "round": call.round,
        "status": call.status,
        "output": None if running else call.output,
        "duration_ms": None if running else round(call.duration_s * 1000, 1),
    }


class ChatStream(Frames):
    """Events → frames of one stream; `encode` is called in order, once an event."""

    kind = "chat.completion.chunk"

    def __init__(self, envelope: Envelope) -> None:
        super().__init__(envelope)
        self._text: dict[int, tuple[bytes, bytes]] = {}  # choice → around the text
        self._reasoning: dict[int, tuple[bytes, bytes, bytes]] = {}
        self._started: set[int] = set()
        self._custom: dict[int, tuple[int, InputStream]] = {}  # choice → open call, its text

    def encode(self, event: Event) -> bytes:
        if type(event) is TextDelta and not event.logprobs:
            around = self._text.get(event.index)
            if around is not None:
                return around[0] + json_text(event.text) + around[1]
        if isinstance(event, Usage):
            return self._usage(event)
        if isinstance(event, Prefilled):
            return b""
        if isinstance(event, Counted):
            self._so_far = usage_object(event.usage)
            self._text.clear()
            self._reasoning.clear()
            return b""
        frame = self._call(event) if isinstance(event, McpCall) else self._encode(event)
        if event.index in self._started:
            return frame
        self._started.add(event.index)
        return self._chunk(event.index, {"role": "assistant", "content": ""}) + frame

    def _encode(self, event: ChoiceEvent) -> bytes:
        index = event.index
        match event:
            case TextDelta(logprobs=()):
                self._text[index] = (before, after) = self._cut(index, {"content": CUT})
                return before + json_text(event.text) + after
            case TextDelta():
                return self._chunk(index, {"content": event.text}, logprobs=event.logprobs)
            case ReasoningDelta():
                if not self._envelope.reasoning:
                    return b""
                around = self._reasoning.get(index)
                if around is None:
                    delta = {"reasoning_content": CUT, "reasoning": CUT}
                    self._reasoning[index] = around = self._cut(index, delta)
                return json_text(event.text).join(around)
            case ToolCallStarted():
                frames = self._end_input(index)
                call = {"index": event.call, "id": event.id}
                if event.name in self._envelope.custom:
                    self._custom[index] = event.call, InputStream()
                    call |= {"type": "custom", "custom": {"name": event.name, "input": ""}}
                else:
                    function = {"name": event.name, "arguments": ""}
                    call |= {"type": "function", "function": function}
                return frames + self._chunk(index, {"tool_calls": [call]})
            case ToolCallArguments():
                if index in self._custom:
                    return self._input(index, self._custom[index][1].push(event.arguments))
                call = {"index": event.call, "function": {"arguments": event.arguments}}
                return self._chunk(index, {"tool_calls": [call]})
            case Finished():
                frames = self._end_input(index)
                return frames + self._chunk(index, {}, finish_reason=event.reason)
        return b""

    def _input(self, index: int, text: str) -> bytes:
        """A piece of a custom tool's text."""
        if not text:
            return b""
        call = {"index": self._custom[index][0], "custom": {"input": text}}
        return self._chunk(index, {"tool_calls": [call]})

    def _end_input(self, index: int) -> bytes:
        """Of a custom tool's call that is over, if there is one."""
        if index not in self._custom:
            return b""
        frames = self._input(index, self._custom[index][1].finish())
        del self._custom[index]
        return frames

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        *,
        logprobs: Sequence[ChosenLogprob] = (),
        finish_reason: str | None = None,
    ) -> bytes:
        choice = {
            "index": index,
            "delta": delta,
            "logprobs": logprobs_object(logprobs) if logprobs else None,
            "finish_reason": finish_reason,
        }
        return self._choice(choice)

    def _call(self, call: McpCall) -> bytes:
        """A chunk that changes nothing, with a field that clients of OpenAI do not know: `choices`
        is not left empty, as many programs look at its first entry."""
        choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}
        shown = {"choices": [choice], "mcp_call": mcp_call_object(call)}
        return self._frame(shown | self._with_usage())

    def _cut(self, index: int, delta: dict[str, Any]) -> Any:
        return tuple(self._chunk(index, delta).split(CUT_JSON))


class _Choice:
    """One answer while it is being collected."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.logprobs: list[ChosenLogprob] = []
        self.finish_reason: str | None = None

    def message(self, custom: frozenset[str]) -> dict[str, Any]:
        text = "".join(self.text)
        content = text if text or not self.calls else None
        message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
        if self.reasoning:
            message["reasoning_content"] = message["reasoning"] = "".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = [
                _call(call["id"], call["name"], "".join(call["arguments"]), custom)
                for call in self.calls
            ]
        return message


def _call(identity: str, name: str, arguments: str, custom: frozenset[str]) -> dict[str, Any]:
    if name in custom:
        return call_object(identity, name, arguments)
    function = {"name": name, "arguments": arguments}
    return {"id": identity, "type": "function", "function": function}


class ChatAnswer(Collected):
    """Events → the one object of a request that does not stream."""

    kind = "chat.completion"

    def __init__(self, envelope: Envelope) -> None:
        super().__init__(envelope)
        self._collected: dict[int, _Choice] = {}
        self._calls: list[dict[str, Any]] = []
        self._prompt: dict[str, Any] = {}

    def _take(self, event: ChoiceEvent) -> None:
        choice = self._collected.setdefault(event.index, _Choice())
        match event:
            case TextDelta():
                choice.text.append(event.text)
                choice.logprobs += event.logprobs
            case ReasoningDelta():
                if self._envelope.reasoning:
                    choice.reasoning.append(event.text)
            case ToolCallStarted():
                choice.calls.append({"id": event.id, "name": event.name, "arguments": []})
            case ToolCallArguments():
                choice.calls[event.call]["arguments"].append(event.arguments)
            case Finished():
                choice.finish_reason = event.reason
            case Echo():
                self._prompt = {"prompt_logprobs": prompt_logprobs_object(event)}

    def add(self, event: Event) -> None:
        if isinstance(event, McpCall) and event.status != "running":
            self._calls.append(mcp_call_object(event))
        super().add(event)

    def _extra(self) -> dict[str, Any]:
        return ({"mcp_calls": self._calls} if self._calls else {}) | self._prompt

    def _choices(self) -> list[dict[str, Any]]:
        return [
            {
                "index": index,
                "message": choice.message(self._envelope.custom),
                "logprobs": logprobs_object(choice.logprobs) if choice.logprobs else None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in sorted(self._collected.items())
        ]
