"""What a Messages request gets back: the stream of events, or the one object.

    message_start, ping, (content_block_start, content_block_delta …, content_block_stop) …,
    message_delta, message_stop

A call of an MCP tool is a block, and what the tool said another.

`message_start` waits for the first token: a client that saw it and then nothing gives up sooner
than one that only got pings.

Source: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

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
from ..tasks.mcp_rounds import ROUNDS_UP
from .anthropic_errors import anthropic_body
from .anthropic_mcp import result_block, use_block
from .anthropic_signature import sign
from .errors import reply_to
from .sse import json_text

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_json = msgspec.json.Encoder().encode


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What is the same in every event of one answer, and what was asked of it."""

    message_id: str
    request_id: str
    model: str  # as the client named it
    max_tokens: int
    cache_marks: bool = False  # the client said what to keep: what is read anew counts as written
    hide_thinking: bool = False
    labels: dict[str, str] = {}  # MCP server → the client's name of it
    edits: list[dict[str, Any]] | None = None  # that were applied; None: none was asked for

    def message(self) -> dict[str, Any]:
        return {
            "id": self.message_id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def usage(self, prompt: int, cached: int, output: int, thinking: int = 0) -> dict[str, Any]:
        """`input_tokens` are those that were neither read from the cache nor written to it."""
        fresh = prompt - cached
        return {
            "input_tokens": 0 if self.cache_marks else fresh,
            "cache_creation_input_tokens": fresh if self.cache_marks else 0,
            "cache_read_input_tokens": cached,
            "output_tokens": output,
            "output_tokens_details": {"thinking_tokens": thinking},
        }

    @property
    def editing(self) -> dict[str, Any]:
        if self.edits is None:
            return {}
        return {"context_management": {"applied_edits": self.edits}}

    def ending(
        self, finished: Finished, output_tokens: int, *, paused: bool = False
    ) -> dict[str, Any]:
        """`paused`: tools were to be run once more, and it was often enough."""
        reason = "end_turn"
        if paused:
            reason = "pause_turn"
        elif finished.stop is not None:
            reason = "stop_sequence"
        elif finished.reason == "tool_calls":
            reason = "tool_use"
        elif finished.reason == "length":
            full = output_tokens < self.max_tokens  # it was the context that ended
            reason = "model_context_window_exceeded" if full else "max_tokens"
        return {"stop_reason": reason, "stop_sequence": finished.stop}


def tool_use_id(call_id: str) -> str:
    return "toolu_" + call_id.removeprefix("call_")


class MessageStream:
    """Events → frames of one stream; `encode` is called in order, once an event."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._block = -1  # number of the last block
        self._kind = ""  # of the block that is open
        self._thinking: list[str] = []
        self._delta = b"", b""  # around the text of a delta of the open block
        self._finished = Finished(0, "stop")
        self._paused = False

    def encode(self, event: Event) -> bytes:
        """The frames of an event, or b""."""
        match event:
            case TextDelta():
                opened = b"" if self._kind == "text" else self._open("text")
                return opened + self._delta[0] + json_text(event.text) + self._delta[1]
            case ReasoningDelta():
                opened = b"" if self._kind == "thinking" else self._open("thinking")
                self._thinking.append(event.text)
                if self._envelope.hide_thinking:
                    return opened
                return opened + self._delta[0] + json_text(event.text) + self._delta[1]
            case ToolCallStarted():
                return self._open("tool_use", id=tool_use_id(event.id), name=event.name)
            case ToolCallArguments():
                return self._delta[0] + json_text(event.arguments) + self._delta[1]
            case Prefilled():
                usage = self._envelope.usage(event.prompt_tokens, event.cached_tokens, 1)
                message = self._envelope.message() | {"usage": usage}
                return _frame("message_start", {"message": message}) + PING
            case Finished():
                self._finished = event
                return self._close()
            case McpCall():
                return self._mcp(event)
            case Usage():
                return self._end(event)
        return b""

    def _mcp(self, call: McpCall) -> bytes:
        self._paused = call.output == ROUNDS_UP
        frames = b""
        if call.status in ("running", "skipped"):
            frames += self._start(use_block(call, self._envelope.labels))
            self._delta = self._around("input_json_delta", "partial_json")
            frames += self._delta[0] + json_text(call.arguments) + self._delta[1] + self._close()
        if call.status != "running":
            frames += self._start(result_block(call)) + self._close()
        return frames

    def encode_error(self, error: Exception) -> bytes:
        """The last frame of a stream that fails."""
        reply = reply_to(error, self._envelope.request_id, anthropic_body)
        return b"event: error\ndata: " + _json(reply.body) + b"\n\n"

    def _start(self, block: dict[str, Any]) -> bytes:
        closed = self._close()
        self._block += 1
        self._kind = block["type"]
        fields = {"index": self._block, "content_block": block}
        return closed + _frame("content_block_start", fields)

    def _open(self, kind: str, **fields: str) -> bytes:
        match kind:
            case "text":
                start, delta = {"text": ""}, ("text_delta", "text")
            case "thinking":
                start, delta = {"thinking": "", "signature": ""}, ("thinking_delta", "thinking")
            case _:
                start, delta = {"input": {}}, ("input_json_delta", "partial_json")
        frames = self._start({"type": kind, **fields, **start})
        self._delta = self._around(*delta)
        return frames

    def _around(self, kind: str, field: str) -> tuple[bytes, bytes]:
        frame = _frame(
            "content_block_delta", {"index": self._block, "delta": {"type": kind, field: 0}}
        )
        before, _, after = frame.rpartition(b"0")
        return before, after

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        signed = b""
        if self._kind == "thinking":
            thinking, self._thinking = "".join(self._thinking), []
            signature = sign(thinking, carry=self._envelope.hide_thinking)
            delta = {"type": "signature_delta", "signature": signature}
            signed = _frame("content_block_delta", {"index": self._block, "delta": delta})
        self._kind = ""
        return signed + _frame("content_block_stop", {"index": self._block})

    def _end(self, usage: Usage) -> bytes:
        envelope = self._envelope
        delta = envelope.ending(self._finished, usage.output_tokens, paused=self._paused)
        last = {"delta": delta, "usage": _usage_object(envelope, usage), **envelope.editing}
        return _frame("message_delta", last) + _frame("message_stop", {})


class MessageAnswer:
    """Events → the one object of a request that does not stream."""

    def __init__(self, envelope: Envelope) -> None:
        self._envelope = envelope
        self._blocks: list[tuple[dict[str, Any], list[str]]] = []
        self._finished = Finished(0, "stop")
        self._usage = Usage(prompt_tokens=0, output_tokens=0)
        self._paused = False

    def add(self, event: Event) -> None:
        """Called in order, once an event."""
        match event:
            case TextDelta():
                self._texts("text").append(event.text)
            case ReasoningDelta():
                self._texts("thinking").append(event.text)
            case ToolCallStarted():
                block = {"type": "tool_use", "id": tool_use_id(event.id), "name": event.name}
                self._blocks.append((block, []))
            case ToolCallArguments():
                self._blocks[-1][1].append(event.arguments)
            case McpCall():
                self._paused = event.output == ROUNDS_UP
                if event.status in ("running", "skipped"):
                    block = use_block(event, self._envelope.labels)
                    self._blocks.append((block, [event.arguments]))
                if event.status != "running":
                    self._blocks.append((result_block(event), []))
            case Finished():
                self._finished = event
            case Usage():
                self._usage = event
            case Prefilled():
                pass

    def _texts(self, kind: str) -> list[str]:
        if not self._blocks or self._blocks[-1][0]["type"] != kind:
            self._blocks.append(({"type": kind}, []))
        return self._blocks[-1][1]

    def encode(self) -> bytes:
        """The object, after the last event."""
        usage = self._usage
        message = self._envelope.message()
        message["content"] = [self._block(block, "".join(t)) for block, t in self._blocks]
        envelope = self._envelope
        message |= envelope.ending(self._finished, usage.output_tokens, paused=self._paused)
        message |= {"usage": _usage_object(envelope, usage), **envelope.editing}
        return _json(message)

    def _block(self, block: dict[str, Any], text: str) -> dict[str, Any]:
        match block["type"]:
            case "text":
                return block | {"text": text}
            case "thinking":
                hide = self._envelope.hide_thinking
                signature = sign(text, carry=hide)
                return block | {"thinking": "" if hide else text, "signature": signature}
            case "mcp_tool_result":
                return block
        return block | {"input": msgspec.json.decode(text) if text else {}}


def _usage_object(envelope: Envelope, usage: Usage) -> dict[str, Any]:
    return envelope.usage(
        usage.prompt_tokens, usage.cached_tokens, usage.output_tokens, usage.reasoning_tokens
    )


def _frame(kind: str, fields: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: ".encode() + _json({"type": kind} | fields) + b"\n\n"
