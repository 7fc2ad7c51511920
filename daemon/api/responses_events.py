"""What a Responses request gets back, event by event:

    response.created, response.in_progress,
    (response.output_item.added, its deltas and their done, response.output_item.done) …,
    response.completed, .incomplete or .failed

`sequence_number` counts from 0, also over the response.in_progress that are sent while nothing is
generated. A delta costs one JSON string: the object around it is cut once an item.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ..protocol.events import (
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
from .errors import ErrorReply
from .responses_input import item_id
from .responses_items import (
    InputItem,
    ItemWriter,
    McpItem,
    MessageItem,
    ReasoningItem,
    call_item,
    input_item,
)
from .responses_object import Response, usage_object
from .responses_seal import Seal
from .responses_tools import Tool, Tools
from .sse import one_line

_json = msgspec.json.Encoder().encode
# Our words for an error, where the API's differ.
_NO_ANSWERS = ("reasoning", "mcp_list_tools")
_CODES = {"context_length_exceeded": "context_length_exceeded", "overloaded": "rate_limit_exceeded"}


class Framing(NamedTuple):
    """How an event goes over the wire, around its JSON; and what every event carries there."""

    head: bool  # a line `event: …`, as server-sent events have it
    extra: dict[str, Any]

    def around(self, kind: str) -> tuple[bytes, bytes]:
        if not self.head:
            return b"", b""
        return f"event: {kind}\ndata: ".encode(), b"\n\n"


SSE = Framing(True, {})


class Options(NamedTuple):
    """How items are to be written."""

    mark: str  # of the response
    tools: Tools
    summaries: bool  # thinking as a summary
    seal: Seal | None  # thinking comes with an encrypted_content, too
    demanded: Tool | None = None  # the answer is the input of this custom tool


class ResponseWriter:
    """Events → frames, and the response object. `begin`, `encode` for each event in order, `finish`
    and `end`; or `fail` at any place. Each returns frames to be sent in their order."""

    def __init__(
        self,
        response: Response,
        options: Options,
        framing: Framing = SSE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.response = response
        self._clock = clock
        self._options = options
        self._framing = framing
        self._sequence = 0
        self.begun = False
        self._announced = False
        self._item: ItemWriter | None = None
        self._called: dict[str, McpItem] = {}  # by the call's id
        self._left: list[bytes] = []  # frames of an item that was cut off
        self._space = ""  # whitespace before the answer, held back: often it is all of it
        self._finished = Finished(0, "stop")

    # ---- frames

    def event(self, kind: str, fields: dict[str, Any]) -> bytes:
        """One frame."""
        before, after = self._framing.around(kind)
        body = {"type": kind, **fields, "sequence_number": self._sequence, **self._framing.extra}
        self._sequence += 1
        return before + one_line(_json(body)) + after

    def cut(self, kind: str, fields: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
        """A frame as what stands before its text, between text and number, and behind the
        number. The text is the field `delta`."""
        before, after = self._framing.around(kind)
        body = {"type": kind, **fields, **self._framing.extra}
        encoded = _json(body | {"delta": 0, "sequence_number": 0})
        head, _, rest = encoded.rpartition(b'"delta":0')
        middle, _, tail = rest.rpartition(b'"sequence_number":0')
        return before + head + b'"delta":', middle + b'"sequence_number":', tail + after

    def delta(self, around: tuple[bytes, bytes, bytes], text: bytes) -> bytes:
        """A frame that was cut, with its text (JSON) and its number."""
        number = self._sequence
        self._sequence += 1
        return b"%b%b%b%d%b" % (around[0], text, around[1], number, around[2])

    # ---- life

    def announce(self) -> list[bytes]:
        """The very first frames, while it is still waiting; none at the second call."""
        if self._announced:
            return []
        self._announced = True
        queued = self.response["status"] == "queued"
        return [self._whole("created"), *([self._whole("queued")] if queued else [])]

    def begin(self) -> list[bytes]:
        """The frames before all others; none at the second call."""
        if self.begun:
            return []
        self.begun = True
        frames = self.announce()
        if self.response["status"] == "queued":
            self.response["status"] = "in_progress"
        return [*frames, self._whole("in_progress")]

    def beat(self) -> list[bytes]:
        """What says that we are alive."""
        return self.begin() or [self._whole("in_progress")]

    def encode(self, event: Event) -> list[bytes]:
        item = self._item
        if type(event) is TextDelta and isinstance(item, MessageItem | InputItem):
            return [item.add(event)]
        frames = self.begin()
        match event:
            case TextDelta():
                self._text(event, frames)
            case ReasoningDelta():
                if not isinstance(item, ReasoningItem):
                    options = self._options
                    item = ReasoningItem(self, options.summaries, options.seal)
                    self._open(item, frames)
                frames.append(item.add(event))
            case ToolCallStarted():
                self._space = ""
                self._open(call_item(self, event, self._options.tools), frames)
            case ToolCallArguments() if item is not None:
                frames += item.more(event.arguments)
            case Finished():
                self._finish_items(event, frames)
            case Usage():
                self.response["usage"] = usage_object(event)
            case McpCall():
                self._mcp(event, frames)
            case Prefilled() | ToolCallArguments():
                pass
        return frames

    def _mcp(self, call: McpCall, frames: list[bytes]) -> None:
        """Its item stands in the output from the beginning, as others may end before it."""
        self._close(frames)
        self._space = ""
        item = self._called.get(call.id)
        if item is None:
            item = self._called[call.id] = McpItem(self, call)
            frames += item.open(len(self.response["output"]), self._options.mark)
            self.response["output"].append(item.item)
        if call.status != "running":
            frames += item.end(call)

    def listed(self, item: dict[str, Any]) -> list[bytes]:
        """Frames of what an MCP server offers; before all events."""
        frames = self.begin()
        place = len(self.response["output"])
        item = {"id": item_id(item["type"], self._options.mark, place), **item}
        self.response["output"].append(item)
        names = {"item_id": item["id"], "output_index": place}
        frames.append(
            self.event("response.output_item.added", {"output_index": place, "item": item})
        )
        for step in ("in_progress", "completed"):
            frames.append(self.event(f"response.mcp_list_tools.{step}", names))
        done = {"output_index": place, "item": item}
        return [*frames, self.event("response.output_item.done", done)]

    def _text(self, event: TextDelta, frames: list[bytes]) -> None:
        text = self._space + event.text
        if text.isspace() and not event.logprobs:
            self._space = text
            return
        self._space = ""
        self._answer(TextDelta(event.index, text, event.logprobs), frames)

    def _answer(self, event: TextDelta, frames: list[bytes]) -> None:
        tool = self._options.demanded
        item = MessageItem(self) if tool is None else input_item(self, tool)
        self._open(item, frames)
        frames.append(item.add(event))

    def _finish_items(self, finished: Finished, frames: list[bytes]) -> None:
        self._finished = finished
        answered = any(item["type"] not in _NO_ANSWERS for item in self.response["output"])
        if self._space and not answered and not (self._item and self._item.answers):
            self._answer(TextDelta(0, self._space), frames)
        self._close(frames, complete=finished.reason != "length")

    def _open(self, item: ItemWriter, frames: list[bytes]) -> None:
        self._close(frames)
        self._item = item
        place = len(self.response["output"])
        frames += item.open(place, self._options.mark)

    def _close(self, frames: list[bytes], *, complete: bool = True) -> None:
        if self._item is not None:
            frames += self._item.close("completed" if complete else "incomplete")
            self.response["output"].append(self._item.item)
            self._item = None

    def finish(self) -> None:
        """All events have come: the object is what it will be."""
        response = self.response
        response["completed_at"] = int(self._clock())
        response["status"] = "completed"
        if self._finished.reason == "length":
            response["status"] = "incomplete"
            response["incomplete_details"] = {"reason": "max_output_tokens"}

    def end(self) -> list[bytes]:
        """The last frame, after `finish`."""
        return [*self.begin(), self._whole(self.response["status"])]

    def abandon(self, status: str, error: ErrorReply | None = None) -> None:
        """The object of a response that ends before its time; what there is of it stays."""
        self._close(self._left, complete=False)
        for called in self._called.values():
            if called.item["status"] == "in_progress":
                self._left += called.close("incomplete")
        self.response["status"] = status
        if error is not None:
            told = error.body["error"]
            code = _CODES.get(told["code"]) or (
                "server_error" if error.status >= 500 else "invalid_prompt"
            )
            self.response["error"] = {"code": code, "message": told["message"]}

    def cancel(self) -> list[bytes]:
        """The last frames of a response that was cancelled."""
        frames = self.begin()
        self.abandon("cancelled")
        return [*frames, *self._left, self._whole("cancelled")]

    def fail(self, error: ErrorReply) -> list[bytes]:
        """The last frames of a stream that fails."""
        frames = self.begin()
        if self.response["status"] == "in_progress":
            self.abandon("failed", error)
        told = error.body["error"]
        fields = {key: told[key] for key in ("code", "message", "param")}
        return [*frames, *self._left, self.event("error", fields), self._whole("failed")]

    def _whole(self, name: str) -> bytes:
        return self.event(f"response.{name}", {"response": self.response})
