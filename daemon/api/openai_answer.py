"""What the answers of OpenAI's two dialects have in common: who answers, usage, the way out."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from sanic.response import HTTPResponse

from ..protocol.events import ChoiceEvent, Counted, Event, McpCall, Prefilled, Usage
from ..protocol.tap import Tap
from .errors import reply_to
from .openai_usage import timings_object, usage_object
from .sse import one_line, send_events

if TYPE_CHECKING:
    from sanic import Request

    from ..protocol.requests import ChatRequest, CompletionRequest

to_json = msgspec.json.Encoder().encode
CUT = "\x00cut"  # stands for the text while a chunk is cut in two
CUT_JSON = to_json(CUT)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same in every chunk and object of one answer, and what was asked of it."""

    request_id: str
    created: int  # seconds since the epoch
    model: str  # as the client named it
    version: str
    usage: bool = False  # a stream ends with a chunk of usage
    timings: bool = False  # llama-server's `timings` beside usage
    reasoning: bool = True  # the thinking is shown
    tiered: bool = False  # the service tier is named
    custom: frozenset[str] = frozenset()  # tools whose calls are texts

    @classmethod
    def of(
        cls,
        request: ChatRequest | CompletionRequest,
        version: str,
        *,
        usage: bool,
        timings: bool,
        reasoning: bool = True,
        tiered: bool = False,
        custom: frozenset[str] = frozenset(),
    ) -> Envelope:
        """Of an answer that begins now."""
        return cls(
            request_id=request.meta.request_id,
            created=int(time.time()),
            model=request.model,
            version=version,
            usage=usage,
            timings=timings,
            reasoning=reasoning,
            tiered=tiered,
            custom=custom,
        )

    def base(self, kind: str) -> dict[str, Any]:
        """The fields before `choices`; `system_fingerprint` is equal as long as the same program
        answers."""
        tier = {"service_tier": "default"} if self.tiered else {}
        return {
            "id": self.request_id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": f"fastmlx-{self.version}",
        } | tier


class Frames(ABC):
    """Events → frames of one stream."""

    kind: ClassVar[str]  # the chunks' `object`

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._base = envelope.base(self.kind)
        self._so_far: dict[str, Any] | None = None  # usage, where every chunk has it

    @abstractmethod
    def encode(self, event: Event) -> bytes:
        """The frames of an event, or b""; called in order, once an event."""

    def encode_error(self, error: Exception) -> bytes:
        """The last frame of a stream that fails."""
        return b"data: " + to_json(reply_to(error, self._envelope.request_id).body) + b"\n\n"

    def _choice(self, choice: dict[str, Any]) -> bytes:
        return self._frame({"choices": [choice]} | self._with_usage())

    def _with_usage(self) -> dict[str, Any]:
        return {"usage": self._so_far} if self._envelope.usage else {}

    def _usage(self, usage: Usage) -> bytes:
        rest: dict[str, Any] = {"choices": []}
        if self._envelope.usage:
            rest["usage"] = usage_object(usage)
        if self._envelope.timings:
            rest["timings"] = timings_object(usage)
        return self._frame(rest) if len(rest) > 1 else b""

    def _frame(self, rest: dict[str, Any]) -> bytes:
        return b"data: " + one_line(to_json(self._base | rest)) + b"\n\n"


class Collected(ABC):
    """Events → the one object of a request that does not stream."""

    kind: ClassVar[str]  # its `object`

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._usage = Usage(prompt_tokens=0, output_tokens=0)

    def add(self, event: Event) -> None:
        """Called in order, once an event."""
        if isinstance(event, Usage):
            self._usage = event
        elif not isinstance(event, Prefilled | McpCall | Counted):
            self._take(event)

    @abstractmethod
    def _take(self, event: ChoiceEvent) -> None: ...

    def _extra(self) -> dict[str, Any]:
        """Fields beside OpenAI's."""
        return {}

    @abstractmethod
    def _choices(self) -> list[dict[str, Any]]: ...

    def object(self) -> dict[str, Any]:
        """After the last event."""
        answer = self._envelope.base(self.kind)
        answer |= {"choices": self._choices(), "usage": usage_object(self._usage)}
        if self._envelope.timings:
            answer["timings"] = timings_object(self._usage)
        return answer | self._extra()

    def encode(self) -> bytes:
        """The object as JSON."""
        return to_json(self.object())


async def respond(
    request: Request,
    events: Callable[[Tap | None], AsyncGenerator[Event, None]],
    answer: Frames | Collected,
) -> HTTPResponse | None:
    """Sends a stream (and returns None), or returns the one object. `events` begins the work."""
    if isinstance(answer, Frames):
        tap = Tap(answer.encode)
        await send_events(request, events(tap), answer.encode, answer.encode_error, tap=tap)
        return None
    return await _whole(events(None), answer)


async def _whole(events: AsyncGenerator[Event, None], answer: Collected) -> HTTPResponse:
    async with aclosing(events):
        async for event in events:
            answer.add(event)
    return HTTPResponse(answer.encode(), content_type="application/json")
