"""The tools of a conversation, for a request that goes on from it and leaves them out.

Codex asks for a summary of a conversation that has become long with the same input, one more turn
and no tools. Tools stand at the beginning of a prompt: without them nothing of what was computed
would serve again, where the prompt is longest. So the tools of the last request with the same
`prompt_cache_key` stay in the prompt, and may not be called.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any, NamedTuple

import msgspec

from ..protocol.requests import ChatRequest

REMEMBERED = 64  # conversations
LONGEST_KEY = 1000  # characters
MAX_BYTES = 1024**2  # of their tools; the most that agents send are a tenth of it
to_json = msgspec.json.Encoder().encode


class _Known(NamedTuple):
    tools: bytes  # JSON
    num_messages: int
    digest: bytes  # of these messages


class ToolMemory:
    """For one front. A key of one caller, for one model, is none of another's."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._known: OrderedDict[tuple[str, str | None, str], _Known] = OrderedDict()
        self._limit = limit

    def note(self, cache_key: str | None, request: ChatRequest) -> None:
        """A request that is about to be carried out."""
        if not cache_key or len(cache_key) > LONGEST_KEY:
            return
        if not request.tools or request.tool_choice == "none":
            return
        key = (request.model, request.meta.key, cache_key)
        tools = to_json(request.tools)
        if len(tools) > MAX_BYTES:
            self._known.pop(key, None)
            return
        known = _Known(tools, len(request.messages), _digest(request.messages))
        self._known[key] = known
        self._known.move_to_end(key)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def recalled(self, cache_key: str | None, request: ChatRequest) -> ChatRequest:
        """The same; with the tools of the request that it goes on from if it has none itself."""
        if not cache_key or request.tools or request.mcp is not None:
            return request
        known = self._known.get((request.model, request.meta.key, cache_key))
        if known is None or known.digest != _digest(request.messages[: known.num_messages]):
            return request
        tools = msgspec.json.decode(known.tools)
        return msgspec.structs.replace(request, tools=tools, tool_choice="none")


def _digest(messages: list[dict[str, Any]]) -> bytes:
    return hashlib.sha256(to_json(messages)).digest()
