"""What a completion request gets back: the stream of chunks, or the one object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..protocol.events import ChosenLogprob, Event, Finished, TextDelta, Usage
from .errors import reply_to
from .openai_chat_answer import fingerprint
from .openai_usage import timings_object, usage_object
from .sse import json_text

_json = msgspec.json.Encoder().encode
_CUT = "\x00cut"  # stands for the text while a chunk is cut in two
_CUT_JSON = _json(_CUT)


def logprobs_object(logprobs: Sequence[ChosenLogprob], offset: int) -> dict[str, Any]:
    """The older shape: lists side by side. `text_offset` counts characters of the choice's text
    (its echo included), from `offset` for the first token; the chosen token is always among
    `top_logprobs`."""
    offsets: list[int] = []
    for each in logprobs:
        offsets.append(offset)
        offset += len(each.token)
    return {
        "tokens": [each.token for each in logprobs],
        "token_logprobs": [each.logprob for each in logprobs],
        "top_logprobs": [
            {token: value for token, _, value in each.top} | {each.token: each.logprob}
            for each in logprobs
        ],
        "text_offset": offsets,
    }


def _identity(request_id: str, created: int, model: str, version: str) -> dict[str, Any]:
    return {
        "id": request_id,
        "object": "text_completion",
        "created": created,
        "model": model,
        "system_fingerprint": fingerprint(version),
    }


class CompletionStream:
    """Events → frames of one stream; `encode` is called in order, once an event."""

    def __init__(
        self,
        request_id: str,
        created: int,
        model: str,
        *,
        version: str,
        usage: bool,
        timings: bool,
    ) -> None:
        self._request_id = request_id
        self._base = _identity(request_id, created, model, version)
        self._wants_usage = usage
        self._wants_timings = timings
        self._text: dict[int, tuple[bytes, bytes]] = {}  # choice → around the text
        self._offsets: dict[int, int] = {}

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta(logprobs=()):
                around = self._text.get(event.index)
                if around is None:
                    before, after = self._chunk(event.index, _CUT).split(_CUT_JSON)
                    self._text[event.index] = around = (before, after)
                self._advance(event)
                return around[0] + json_text(event.text) + around[1]
            case TextDelta():
                logprobs = logprobs_object(event.logprobs, self._offsets.get(event.index, 0))
                self._advance(event)
                return self._chunk(event.index, event.text, logprobs=logprobs)
            case Finished():
                return self._chunk(event.index, "", finish_reason=event.reason)
            case Usage():
                return self._usage(event)
        return b""

    def _advance(self, delta: TextDelta) -> None:
        tokens = sum(len(each.token) for each in delta.logprobs)
        self._offsets[delta.index] = self._offsets.get(delta.index, 0) + (tokens or len(delta.text))

    def encode_error(self, error: Exception) -> bytes:
        return b"data: " + _json(reply_to(error, self._request_id).body) + b"\n\n"

    def _chunk(
        self,
        index: int,
        text: str,
        *,
        logprobs: dict[str, Any] | None = None,
        finish_reason: str | None = None,
    ) -> bytes:
        choice = {
            "index": index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }
        return self._frame({"choices": [choice]} | ({"usage": None} if self._wants_usage else {}))

    def _frame(self, rest: dict[str, Any]) -> bytes:
        return b"data: " + _json(self._base | rest) + b"\n\n"

    def _usage(self, usage: Usage) -> bytes:
        rest: dict[str, Any] = {"choices": []}
        if self._wants_usage:
            rest["usage"] = usage_object(usage)
        if self._wants_timings:
            rest["timings"] = timings_object(usage)
        return self._frame(rest) if len(rest) > 1 else b""


class _Choice:
    """One completion while it is being collected."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.logprobs: list[ChosenLogprob] = []
        self.finish_reason: str | None = None


class CompletionAnswer:
    """Events → the one object of a request that does not stream."""

    def __init__(
        self, request_id: str, created: int, model: str, *, version: str, timings: bool
    ) -> None:
        self._base = _identity(request_id, created, model, version)
        self._wants_timings = timings
        self._choices: dict[int, _Choice] = {}
        self._usage = Usage(prompt_tokens=0, output_tokens=0)

    def add(self, event: Event) -> None:
        if isinstance(event, Usage):
            self._usage = event
            return
        choice = self._choices.setdefault(event.index, _Choice())
        if isinstance(event, TextDelta):
            choice.text.append(event.text)
            choice.logprobs += event.logprobs
        elif isinstance(event, Finished):
            choice.finish_reason = event.reason

    def encode(self) -> bytes:
        choices = [
            {
                "index": index,
                "text": "".join(choice.text),
                "logprobs": logprobs_object(choice.logprobs, 0) if choice.logprobs else None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in sorted(self._choices.items())
        ]
        answer = self._base | {"choices": choices, "usage": usage_object(self._usage)}
        if self._wants_timings:
            answer["timings"] = timings_object(self._usage)
        return _json(answer)
