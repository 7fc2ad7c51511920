"""What /api/chat and /api/generate answer: lines of JSON, or one object.

    {"model": …, "created_at": …, "message": {"role": "assistant", "content": "Hel"}, "done": false}
    {…, "done": true, "done_reason": "stop", "total_duration": nanoseconds, "eval_count": …}

In the lines of /api/generate `response` stands in the place of `message`. A tool call is sent
whole, as its arguments are an object.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..protocol.events import (
    ChosenLogprob,
    Event,
    Finished,
    Prefilled,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStarted,
    Usage,
)
from .errors import reply_to
from .ollama_errors import ollama_body
from .sse import json_text, one_line

NDJSON = "application/x-ndjson"
_to_json = msgspec.json.Encoder().encode
_CUT = "\x00cut"  # stands for the text while a line is cut in two
_CUT_JSON = _to_json(_CUT)


def line_of(value: Any) -> bytes:
    """One line of NDJSON."""
    return one_line(_to_json(value)) + b"\n"


class Envelope(msgspec.Struct, frozen=True):
    """What is the same in every line of one answer."""

    request_id: str
    model: str  # as the client named it
    created_at: str  # RFC 3339
    chat: bool  # else: /api/generate

    def base(self) -> dict[str, Any]:
        return {"model": self.model, "created_at": self.created_at}

    def part(self, text: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
        """The text, with `more` beside it, where this endpoint has them."""
        if self.chat:
            return {"message": {"role": "assistant", "content": text} | (more or {})}
        return {"response": text} | (more or {})

    def nothing_said(self, reason: str) -> bytes:
        """The one line of a request that only loads or unloads its model."""
        end = {"done": True, "done_reason": reason}
        return line_of(self.base() | self.part("") | end)


class _Call(msgspec.Struct):
    index: int
    id: str
    name: str
    arguments: list[str] = []

    def object(self) -> dict[str, Any]:
        text = "".join(self.arguments)
        try:
            arguments = msgspec.json.decode(text) if text else {}
        except msgspec.DecodeError:  # the answer was cut within the call
            arguments = text
        if not isinstance(arguments, dict):  # clients take it for an object
            arguments = {"arguments": arguments}
        function = {"index": self.index, "name": self.name, "arguments": arguments}
        return {"id": self.id, "function": function}


def durations(usage: Usage) -> dict[str, int]:
    """Nanoseconds. Loading and waiting are not prefill."""
    prompt_s = max(0.0, usage.ttft_s - usage.queue_s)
    return {
        "total_duration": _ns(usage.duration_s),
        "load_duration": _ns(usage.queue_s),
        "prompt_eval_count": usage.prompt_tokens,  # those from the cache among them
        "prompt_eval_cached_count": usage.cached_tokens,
        "prompt_eval_duration": _ns(prompt_s),
        "eval_count": usage.output_tokens,
        "eval_duration": _ns(max(0.0, usage.duration_s - usage.ttft_s)),
    }


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def logprob_objects(logprobs: tuple[ChosenLogprob, ...]) -> list[dict[str, Any]]:
    return [
        _logprob(each.token, each.token_bytes, each.logprob)
        | {"top_logprobs": [_logprob(token, raw, value) for token, raw, value in each.top]}
        for each in logprobs
    ]


def _logprob(token: str, raw: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(raw)}


class AnswerLines:
    """Events → lines of one stream; `encode` is called in order, once an event."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._text = self._cut(_CUT, {})
        self._thinking: tuple[bytes, bytes] | None = None
        self._call: _Call | None = None  # not sent yet
        self._done_reason = "stop"

    @property
    def heartbeat(self) -> bytes:
        """A line that says nothing: clients take every line for an object."""
        return b'""'.join(self._text)

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(logprobs=()):
                before, after = self._text
                return self._flush() + before + json_text(event.text) + after
            case TextDelta():
                beside = {"logprobs": logprob_objects(event.logprobs)}
                return self._flush() + self._line(self._envelope.part(event.text) | beside)
            case ReasoningDelta():
                if self._thinking is None:
                    self._thinking = self._cut("", {"thinking": _CUT})
                return json_text(event.text).join(self._thinking)
            case ToolCallStarted():
                line = self._flush()
                self._call = _Call(event.call, event.id, event.name)
                return line
            case ToolCallArguments():
                if self._call is not None:
                    self._call.arguments.append(event.arguments)
            case Finished():
                self._done_reason = "length" if event.reason == "length" else "stop"
                return self._flush()
            case Usage():
                return self._end(event)
            case Prefilled():
                pass
        return b""

    def encode_error(self, error: Exception) -> bytes:
        """The last line of a stream that fails."""
        return line_of(reply_to(error, self._envelope.request_id, ollama_body).body)

    def _flush(self) -> bytes:
        """The call that is complete now."""
        call, self._call = self._call, None
        if call is None:
            return b""
        return self._line(self._envelope.part("", {"tool_calls": [call.object()]}))

    def _end(self, usage: Usage) -> bytes:
        end = {"done": True, "done_reason": self._done_reason} | durations(usage)
        return line_of(self._envelope.base() | self._envelope.part("") | end)

    def _line(self, rest: dict[str, Any]) -> bytes:
        return line_of(self._envelope.base() | rest | {"done": False})

    def _cut(self, text: str, more: dict[str, Any]) -> tuple[bytes, bytes]:
        before, after = self._line(self._envelope.part(text, more)).split(_CUT_JSON)
        return before, after


class Answer:
    """Events → the one object of a request that does not stream."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._calls: list[_Call] = []
        self._logprobs: list[dict[str, Any]] = []
        self._end: dict[str, Any] = {}

    def add(self, event: Event) -> None:
        """Called in order, once an event."""
        match event:
            case TextDelta():
                self._text.append(event.text)
                self._logprobs += logprob_objects(event.logprobs)
            case ReasoningDelta():
                self._thinking.append(event.text)
            case ToolCallStarted():
                self._calls.append(_Call(event.call, event.id, event.name))
            case ToolCallArguments():
                self._calls[event.call].arguments.append(event.arguments)
            case Finished():
                reason = "length" if event.reason == "length" else "stop"
                self._end = {"done": True, "done_reason": reason}
            case Usage():
                self._end |= durations(event)
            case Prefilled():
                pass

    def encode(self) -> bytes:
        """The object, after the last event."""
        more: dict[str, Any] = {}
        if self._thinking:
            more["thinking"] = "".join(self._thinking)
        if self._calls:
            more["tool_calls"] = [call.object() for call in self._calls]
        answer = self._envelope.base() | self._envelope.part("".join(self._text), more)
        if self._logprobs:
            answer["logprobs"] = self._logprobs
        return _to_json(answer | self._end)
