"""Items of the Responses API → messages in the shape of `protocol.requests.ChatRequest`.

    message                                       user, system, developer: as they are
    reasoning, message of the assistant, calls    one message of the assistant, up to its end
    function_call_output, custom_tool_call_output tool
    compaction                                    the items inside

Ids stay out of the messages: clients make new ones between two requests. Items and parts of kinds
that we do not know are left out, or shown if they hold text.

Source: https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ..protocol.errors import BadRequest
from .responses_seal import Opener, Seal
from .responses_tools import Tools

log = logging.getLogger(__name__)

Item = dict[str, Any]
Message = dict[str, Any]

REASONING, COMPACTION = "reasoning", "compaction"  # purposes of sealed texts
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


def read_items(given: str | list[Any] | None, *, mark: str, where: str = "input") -> list[Item]:
    """The input as a list of items, each with a type and an id. `mark` is the response's: ids
    that we make lead back to it. Raises BadRequest."""
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"role": "user", "content": [{"type": "input_text", "text": given}]}]
    items: list[Item] = []
    for i, item in enumerate(given):
        if not isinstance(item, dict):
            raise _bad(f"{where}[{i}]", "must be an object")
        kind = item.get("type") or ("message" if "role" in item else None)
        if kind is None and set(item) == {"id"}:
            kind = "item_reference"
        if not isinstance(kind, str):
            raise _bad(f"{where}[{i}].type", "must be a string")
        items.append({"type": kind, "id": item_id(kind, mark, f"i{i}")} | _without_nulls(item))
    return items


def item_id(kind: str, mark: str, number: int | str) -> str:
    """An id from which `response_of` finds its response."""
    prefix = {
        "message": "msg",
        "reasoning": "rs",
        "function_call": "fc",
        "custom_tool_call": "ctc",
        "compaction": "cmp",
        "mcp_call": "mcp",
        "mcp_list_tools": "mcpl",
    }.get(kind, "item")
    return f"{prefix}_{mark}_{number}"


def response_of(item: str) -> str | None:
    """The id of the response that an item of ours belongs to."""
    parts = item.split("_")
    return f"resp_{parts[1]}" if len(parts) == 3 else None


def _without_nulls(item: Item) -> Item:
    return {key: value for key, value in item.items() if value is not None}


def unfolded(items: Iterable[Item], opener: Opener) -> Iterator[Item]:
    """The items, with those of a compaction in its place. Raises BadRequest."""
    for item in items:
        if item["type"] not in ("compaction", "compaction_summary"):
            yield item
            continue
        inside = opener.open(item.get("encrypted_content"), COMPACTION)
        if inside is None:
            raise BadRequest(
                "input: a compaction item was not made by this daemon, or has been changed.",
                param="input",
            )
        yield from msgspec.json.decode(inside, type=list[dict[str, Any]])


def folded(items: Iterable[Item], seal: Seal) -> str:
    """The `encrypted_content` of a compaction item that stands for these items."""
    text = msgspec.json.encode(list(unfolded(items, Opener(seal)))).decode()
    return seal.close(text, COMPACTION)


def messages_of(items: Iterable[Item], tools: Tools, seal: Seal) -> list[Message]:
    """Raises BadRequest."""
    opener = Opener(seal)
    made = _Messages(tools, opener)
    for item in unfolded(items, opener):
        made.add(item)
    for message in made.messages:
        if thoughts := message.get("reasoning_content"):
            message["reasoning_content"] = "\n\n".join(thoughts)
    return made.messages


class _Messages:
    """`messages`; thinking is a list of texts, as is content of the assistant: a turn may have very
    many."""

    def __init__(self, tools: Tools, opener: Opener) -> None:
        self.messages: list[Message] = []
        self._tools = tools
        self._opener = opener
        self._round: Message | None = None  # the assistant's, whose calls the daemon ran
        self._names: dict[str, str] = {}  # call_id → the model's name of the tool

    def add(self, item: Item) -> None:
        kind = item["type"]
        if kind != "mcp_call":
            self._round = None
        if kind == "message":
            self._message(item)
        elif kind == "reasoning":
            self._reasoning(item)
        elif kind in ("function_call", "custom_tool_call"):
            self._call(item, custom=kind == "custom_tool_call")
        elif kind in _OUTPUTS:
            self._output(item)
        elif kind == "mcp_call":
            self._mcp_call(item)
        else:
            log.debug("an input item of the type %.100r is left out", kind)

    def _message(self, item: Item) -> None:
        role = item.get("role")
        if not isinstance(role, str):
            raise _bad("input", "has a message without a role")
        parts = list(_parts(item.get("content")))
        if role != "assistant":
            self.messages.append({"role": role, "content": parts or ""})
            return
        assistant = self._assistant(new=False)
        assistant["content"] = assistant["content"] or []
        assistant["content"] += parts
        assistant["content"] = assistant["content"] or ""

    def _reasoning(self, item: Item) -> None:
        text = self._opener.open(item.get("encrypted_content"), REASONING)
        if text is None:
            parts = [*(item.get("content") or []), *([] if item.get("content") else _summary(item))]
            text = "\n\n".join(part["text"] for part in _parts(parts))
        if not text:
            return
        last = self.messages[-1] if self.messages else {}
        begun = bool(last.get("content") or last.get("tool_calls"))
        self._assistant(new=begun).setdefault("reasoning_content", []).append(text)

    def _call(self, item: Item, *, custom: bool) -> None:
        name, identity = item.get("name"), item.get("call_id")
        if not isinstance(name, str) or not isinstance(identity, str):
            raise _bad("input", f"has a {item['type']} without name or call_id")
        arguments = item.get("input" if custom else "arguments", "")
        if custom:
            arguments = json.dumps({"input": str(arguments)}, ensure_ascii=False)
        if not isinstance(arguments, str):
            raise _bad("input", "has a function_call whose arguments are no string")
        namespace = item.get("namespace")
        own = self._tools.name_of(name, namespace if isinstance(namespace, str) else None)
        self._names[identity] = own
        call = {
            "id": identity,
            "type": "function",
            "function": {"name": own, "arguments": arguments or "{}"},
        }
        self._assistant(new=False).setdefault("tool_calls", []).append(call)

    def _mcp_call(self, item: Item) -> None:
        """A call that the daemon ran, with its answer. Calls in a row were of one round."""
        identity, name, label = (item.get(key) for key in ("id", "name", "server_label"))
        if not all(isinstance(each, str) for each in (identity, name, label)):
            raise _bad("input", "has an mcp_call without id, name or server_label")
        own = f"{label}__{name}"
        function = {"name": own, "arguments": str(item.get("arguments") or "{}")}
        call = {"id": identity, "type": "function", "function": function}
        if self._round is None:
            self._round = self._assistant(new=False)
        self._round.setdefault("tool_calls", []).append(call)
        text = item.get("output") or ""
        if not text and isinstance(error := item.get("error"), dict):
            text = "".join(part["text"] for part in _parts(error.get("content")))
        message = {"role": "tool", "tool_call_id": identity, "name": own, "content": str(text)}
        self.messages.append(message)

    def _output(self, item: Item) -> None:
        identity = item.get("call_id")
        if not isinstance(identity, str):
            raise _bad("input", f"has a {item['type']} without call_id")
        parts = list(_parts(item.get("output")))
        message: Message = {"role": "tool", "tool_call_id": identity, "content": parts or ""}
        if identity in self._names:
            message["name"] = self._names[identity]
        self.messages.append(message)

    def _assistant(self, *, new: bool) -> Message:
        """The assistant's message that is going on, or the next one."""
        if new or not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": ""})
        return self.messages[-1]


def _summary(item: Item) -> list[Any]:
    summary = item.get("summary")
    return summary if isinstance(summary, list) else []


def _parts(content: Any) -> Iterator[dict[str, Any]]:
    """Content as parts in the shape of chat."""
    if content is None:
        return
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    if not isinstance(content, list):
        raise _bad("input", "has content that is neither text nor a list of parts")
    for part in content:
        match part:
            case {"type": "input_image", "image_url": str(url)}:
                yield {"type": "image_url", "image_url": {"url": url}}
            case {"type": "input_image" | "input_file", "file_id": str()}:
                raise _bad("input", "names a file_id; there is no Files API here")
            case {"type": "input_file"}:
                yield {"type": "file", "file": {k: v for k, v in part.items() if k != "type"}}
            case {"type": "input_audio"}:
                yield dict(part)
            case {"type": "refusal", "refusal": str(text)} | {"text": str(text)}:
                if text:
                    yield {"type": "text", "text": text}
            case {"type": kind}:
                log.debug("a part of the type %.100r is left out", kind)
            case _:
                raise _bad("input", "has a part that is not an object with a type")


def _bad(where: str, what: str) -> BadRequest:
    return BadRequest(f"{where} {what}.", param=where)
