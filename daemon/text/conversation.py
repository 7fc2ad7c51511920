"""One conversation, one text, whatever clients change between two requests without meaning it.

    Claude Code's billing block     dropped: it differs from conversation to conversation
    text parts                      joined to one string; cache_control and ids go with their parts
    tools with defer_loading        out of the header: their schema stands at the first
                                    tool_reference, so that loading one leaves the prefix alone
    messages and tools              in the order given

Pure, and the same for all dialects; what a template wants beyond that is `messages.normalized`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Messages = list[dict[str, Any]]

BILLING = "x-anthropic-billing-header:"
_SYSTEM = ("system", "developer")
_MARKS = frozenset({"cache_control", "defer_loading"})  # for the server; not the model's business


class Conversation(NamedTuple):
    """What goes into the template."""

    messages: Messages
    tools: list[dict[str, Any]]  # of the header


def canonical(messages: Messages, tools: Iterable[dict[str, Any]] | None) -> Conversation:
    """Copies where something changes; what is not understood stays for others to refuse."""
    header: list[dict[str, Any]] = []
    deferred: dict[str, dict[str, Any]] = {}
    for tool in tools or ():
        bare = {key: value for key, value in tool.items() if key not in _MARKS}
        if tool.get("defer_loading") is True:
            deferred[_name(tool)] = bare
        else:
            header.append(bare)
    shown = {_name(tool) for tool in header}
    made = []
    for message in messages:
        if not isinstance(message, dict):
            made.append(message)
            continue
        content = message.get("content")
        if message.get("role") in _SYSTEM:
            content = _without_billing(content)
            if content is None:
                continue
        if isinstance(content, list):
            content = _joined([_part(part, deferred, shown) for part in content])
        made.append(
            message if content is message.get("content") else message | {"content": content}
        )
    return Conversation(made, header)


def _without_billing(content: Any) -> Any:
    """None when nothing else is left."""
    if isinstance(content, str) and content.startswith(BILLING):
        return content.partition("\n")[2].lstrip("\n") or None
    if isinstance(content, list):
        kept = [part for part in content if not _is_billing(part)]
        return kept if kept or not content else None
    return content


def _is_billing(part: Any) -> bool:
    text = part.get("text") if isinstance(part, dict) else part
    return isinstance(text, str) and text.startswith(BILLING)


def _part(part: Any, deferred: Mapping[str, dict[str, Any]], shown: set[str]) -> Any:
    """Text as a string; other parts less the marks. A tool that is loaded here is shown from here
    on."""
    match part:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return text
        case {"type": "tool_reference", "tool_name": str(name)}:
            if name in deferred and name not in shown:
                shown.add(name)
                return f"Loaded tool:\n{json.dumps(deferred[name], ensure_ascii=False)}"
            return f"The tool {name} is {'' if name in shown else 'not '}available."
        case dict():
            return {key: value for key, value in part.items() if key not in _MARKS}
    return part


def _joined(parts: list[Any]) -> Any:
    if all(isinstance(part, str) for part in parts):
        return "\n".join(parts)  # as vLLM and llama.cpp do
    return [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]


def _name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function")
    return str(function.get("name")) if isinstance(function, dict) else ""
