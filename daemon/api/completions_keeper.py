"""Chat completions that are kept for later questions: what of a request and its answer is kept,
and the errors that clients see.

Source: https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol import caller
from ..protocol.errors import BadRequest, CompletionNotFound
from ..store import completions as stored
from .keeping import Keeping, check_metadata
from .paging import nothing_before

if TYPE_CHECKING:
    from ..protocol.events import Event
    from .openai_chat_answer import ChatAnswer


# Fields of the request that the object shows again, with what they are where nothing was said.
_SHOWN: dict[str, Any] = {
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "response_format": None,
    "seed": None,
    "temperature": 1.0,
    "tool_choice": None,
    "tools": None,
    "top_p": 1.0,
}


class Keep(msgspec.Struct, frozen=True):
    """A request whose answer is to be kept."""

    metadata: dict[str, str]
    shown: dict[str, Any]
    messages: list[dict[str, Any]]


def read_keep(raw: Mapping[str, Any]) -> Keep | None:
    """None unless the body says `store: true`. Raises BadRequest."""
    if raw.get("store") is not True:
        return None
    shown = {
        name: default if raw.get(name) is None else raw[name] for name, default in _SHOWN.items()
    }
    shown |= {"input_user": raw.get("user"), "service_tier": "default"}
    return Keep(check_metadata(raw.get("metadata")), shown, raw["messages"])


class CompletionKeeper(Keeping):
    """For one front. Methods raise FastMLXError. What another API key made is not there."""

    async def keeping(
        self, events: AsyncGenerator[Event, None], answer: ChatAnswer, asked: Keep, request_id: str
    ) -> AsyncGenerator[Event, None]:
        """The same events. Behind the last one the answer that they make is on disk; when it
        cannot be written, the log says why. Raises BadRequest where nothing is kept."""
        if not self.keeps:
            raise BadRequest("store: nothing is kept here (responses.keep is 0).", param="store")
        created_ms = int(time.time() * 1000)
        async with aclosing(events):
            async for event in events:
                answer.add(event)
                yield event
        made = answer.object()
        kept = stored.Kept(
            made["id"],
            created_ms,
            caller.current_key(),
            made["model"],
            asked.metadata,
            made | {"request_id": request_id} | asked.shown,
            asked.messages,
        )
        await self._keep(stored.keep, kept, f"completion {made['id']}")

    async def completion(self, identity: str) -> dict[str, Any]:
        found = await self._read(stored.completion, identity, self._oldest_ms, caller.current())
        if found is None:
            raise _unknown(identity)
        return found.object()

    async def messages(self, identity: str) -> list[dict[str, Any]]:
        """Of its request, as the API shows them."""
        found = await self._read(stored.messages, identity, self._oldest_ms, caller.current())
        if found is None:
            raise _unknown(identity)
        return [_message(message, f"{identity}-{i}") for i, message in enumerate(found)]

    async def listed(self, wanted: stored.Wanted) -> tuple[list[dict[str, Any]], bool]:
        """A page, and whether more follows."""
        try:
            found, more = await self._read(stored.listed, wanted, self._oldest_ms, caller.current())
        except stored.Unknown:
            raise nothing_before() from None
        return [each.object() for each in found], more

    async def describe(self, identity: str, metadata: dict[str, str]) -> dict[str, Any]:
        """With new metadata."""
        by = caller.current()
        await self._change(stored.describe, identity, metadata, self._oldest_ms, by)
        return await self.completion(identity)

    async def forget(self, identity: str) -> None:
        if not await self._change(stored.forget, identity, caller.current()):
            raise _unknown(identity)


def _message(message: dict[str, Any], identity: str) -> dict[str, Any]:
    """Text where it was given as text, or in parts of text alone; else the parts."""
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    if parts is not None:
        texts = [part.get("text") for part in parts]
        content = "".join(texts) if all(isinstance(text, str) for text in texts) else None
    rest = {"name": None} | message
    return {"id": identity} | rest | {"content": content, "content_parts": parts}


def _unknown(identity: str) -> CompletionNotFound:
    return CompletionNotFound(f"There is no kept completion '{identity[:100]}' (any more).")
