"""The items of an output while they are written: their object, and the events of their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..protocol.events import McpCall, ReasoningDelta, TextDelta, ToolCallStarted
from ..text.parsing import new_call_id
from .custom_input import InputStream
from .openai_logprobs import logprob_object
from .responses_input import REASONING, item_id
from .sse import json_text

if TYPE_CHECKING:
    from .responses_events import ResponseWriter
    from .responses_seal import Seal
    from .responses_tools import Tool, Tools


class ItemWriter:
    """One item; `item` is its object, complete after `close`."""

    answers = True  # an item that is an answer, or asks for one

    def __init__(self, writer: ResponseWriter, kind: str, **fields: Any) -> None:
        self._writer = writer
        self._kind = kind
        self._texts: list[str] = []
        self._place: dict[str, Any] = {}
        self._around = b"", b"", b""
        self.item: dict[str, Any] = {"type": kind, **fields}

    @property
    def _text(self) -> str:
        return "".join(self._texts)

    def open(self, place: int, mark: str) -> list[bytes]:
        identity = item_id(self._kind, mark, place)
        self.item = {"id": identity, **self.item, "status": "in_progress"}
        self._place = {"item_id": identity, "output_index": place}
        added = {"output_index": place, "item": self.item}
        return [self._writer.event("response.output_item.added", added), *self._opened()]

    def _opened(self) -> list[bytes]:
        return []

    def more(self, text: str) -> list[bytes]:
        """A piece of the arguments of a call."""
        return []

    def close(self, status: str) -> list[bytes]:
        frames = self._closed()
        self.item["status"] = status
        done = {"output_index": self._place["output_index"], "item": self.item}
        return [*frames, self._writer.event("response.output_item.done", done)]

    def _closed(self) -> list[bytes]:
        return []


class MessageItem(ItemWriter):
    """Text of the answer."""

    def __init__(self, writer: ResponseWriter) -> None:
        super().__init__(writer, "message", role="assistant", content=[])
        self._logprobs: list[dict[str, Any]] = []

    def _part(self) -> dict[str, Any]:
        text = {"type": "output_text", "text": self._text, "annotations": []}
        return text | {"logprobs": self._logprobs}

    def _opened(self) -> list[bytes]:
        self._place["content_index"] = 0
        kind = "response.output_text.delta"
        self._around = self._writer.cut(kind, {**self._place, "delta": 0, "logprobs": []})
        part = {**self._place, "part": self._part()}
        return [self._writer.event("response.content_part.added", part)]

    def add(self, event: TextDelta) -> bytes:
        self._texts.append(event.text)
        if not event.logprobs:
            return self._writer.delta(self._around, json_text(event.text))
        told = [logprob_object(each) for each in event.logprobs]
        self._logprobs += told
        return self._writer.event(
            "response.output_text.delta", {**self._place, "delta": event.text, "logprobs": told}
        )

    def _closed(self) -> list[bytes]:
        part = self._part()
        self.item["content"] = [part]
        event = self._writer.event
        done = {**self._place, "text": part["text"], "logprobs": self._logprobs}
        return [
            event("response.output_text.done", done),
            event("response.content_part.done", {**self._place, "part": part}),
        ]


class ReasoningItem(ItemWriter):
    """Thinking, told as its summary or as its own text: never twice."""

    answers = False

    def __init__(self, writer: ResponseWriter, summary: bool, seal: Seal | None) -> None:
        super().__init__(writer, "reasoning", summary=[], **({} if summary else {"content": []}))
        self._summary = summary
        self._seal = seal
        # The names of events, parts and indexes differ.
        self._field = "summary" if summary else "content"
        self._part_name = "summary_text" if summary else "reasoning_text"
        self._part_event = "reasoning_summary_part" if summary else "content_part"
        self._text_event = "reasoning_summary_text" if summary else "reasoning_text"

    def _part(self) -> dict[str, Any]:
        return {"type": self._part_name, "text": self._text}

    def _opened(self) -> list[bytes]:
        self._place[f"{self._field}_index"] = 0
        self._around = self._writer.cut(f"response.{self._text_event}.delta", self._place)
        part = {**self._place, "part": self._part()}
        return [self._writer.event(f"response.{self._part_event}.added", part)]

    def add(self, event: ReasoningDelta) -> bytes:
        self._texts.append(event.text)
        return self._writer.delta(self._around, json_text(event.text))

    def _closed(self) -> list[bytes]:
        part = self._part()
        self.item[self._field] = [part]
        if self._seal is not None:
            self.item["encrypted_content"] = self._seal.close(part["text"], REASONING)
        event = self._writer.event
        return [
            event(f"response.{self._text_event}.done", {**self._place, "text": part["text"]}),
            event(f"response.{self._part_event}.done", {**self._place, "part": part}),
        ]


class FunctionItem(ItemWriter):
    """A call with JSON arguments."""

    def _opened(self) -> list[bytes]:
        self._around = self._writer.cut("response.function_call_arguments.delta", self._place)
        return []

    def more(self, text: str) -> list[bytes]:
        self._texts.append(text)
        return [self._writer.delta(self._around, json_text(text))]

    def _closed(self) -> list[bytes]:
        arguments = self.item["arguments"] = self._text
        done = {**self._place, "name": self.item["name"], "arguments": arguments}
        return [self._writer.event("response.function_call_arguments.done", done)]


class CustomItem(ItemWriter):
    """A call with a text, out of the JSON that the model writes around it."""

    def _opened(self) -> list[bytes]:
        self._input = InputStream()
        self._around = self._writer.cut("response.custom_tool_call_input.delta", self._place)
        return []

    def more(self, text: str) -> list[bytes]:
        return self._delta(self._input.push(text))

    def _delta(self, text: str) -> list[bytes]:
        return [self._writer.delta(self._around, json_text(text))] if text else []

    def _closed(self) -> list[bytes]:
        frames = self._delta(self._input.finish())
        given = self.item["input"] = self._input.text
        kind = "response.custom_tool_call_input.done"
        return [*frames, self._writer.event(kind, {**self._place, "input": given})]


class InputItem(ItemWriter):
    """A call with a text, which is the whole answer of the model."""

    def _opened(self) -> list[bytes]:
        self._around = self._writer.cut("response.custom_tool_call_input.delta", self._place)
        return []

    def add(self, event: TextDelta) -> bytes:
        self._texts.append(event.text)
        return self._writer.delta(self._around, json_text(event.text))

    def _closed(self) -> list[bytes]:
        given = self.item["input"] = self._text
        kind = "response.custom_tool_call_input.done"
        return [self._writer.event(kind, {**self._place, "input": given})]


def input_item(writer: ResponseWriter, tool: Tool) -> InputItem:
    """For the call that the answer is."""
    fields: dict[str, Any] = {"call_id": new_call_id(), "name": tool.name}
    if tool.namespace:
        fields["namespace"] = tool.namespace
    return InputItem(writer, "custom_tool_call", **fields, input="")


class McpItem(ItemWriter):
    """A call that the daemon runs. Several may be open at once."""

    def __init__(self, writer: ResponseWriter, call: McpCall) -> None:
        super().__init__(
            writer,
            "mcp_call",
            server_label=call.server,
            name=call.name,
            arguments=call.arguments,
            output=None,
            error=None,
            approval_request_id=None,
        )

    def _opened(self) -> list[bytes]:
        event, arguments = self._writer.event, self.item["arguments"]
        return [
            event("response.mcp_call.in_progress", self._place),
            event("response.mcp_call_arguments.delta", {**self._place, "delta": arguments}),
            event("response.mcp_call_arguments.done", {**self._place, "arguments": arguments}),
        ]

    def end(self, call: McpCall) -> list[bytes]:
        """It has ended, or was not run at all."""
        if call.status == "completed":
            self.item["output"] = call.output
            status = "completed"
        else:
            content = [{"type": "text", "text": call.output}]
            self.item["error"] = {"type": "mcp_tool_execution_error", "content": content}
            status = "failed"
        return [self._writer.event(f"response.mcp_call.{status}", self._place), *self.close(status)]


def call_item(writer: ResponseWriter, event: ToolCallStarted, tools: Tools) -> ItemWriter:
    """For a call of a tool, by the name that the client knows."""
    tool = tools.known.get(event.name)
    fields: dict[str, Any] = {"call_id": event.id, "name": tool.name if tool else event.name}
    if tool and tool.namespace:
        fields["namespace"] = tool.namespace
    if tool and tool.kind == "custom":
        return CustomItem(writer, "custom_tool_call", **fields, input="")
    return FunctionItem(writer, "function_call", **fields, arguments="")
