"""One response while it is made, however it is sent.

asked ─► what went before ─► messages ─► generator ─► events ─► frames, and the object
                                                      └─ kept before the last frame leaves
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from ..protocol.errors import FastMLXError
from ..protocol.events import Event, Usage
from ..protocol.tap import Tap
from ..tasks import mcp_loop
from ..tasks.lookup import find_model
from .errors import reply_to
from .responses_events import SSE, Framing, Options, ResponseWriter
from .responses_fields import Asked, chat_request
from .responses_format import demanded_tool
from .responses_input import messages_of
from .responses_keeper import NOTHING, Context, Keeper, Local, whole
from .responses_mcp import check_servers, list_item
from .responses_object import Response, response_object, wants_summary

if TYPE_CHECKING:
    from ..protocol.requests import ChatRequest
    from ..tasks.front import Front
    from .responses_input import Item


async def read_request(
    front: Front, keeper: Keeper, asked: Asked, context: Context, client: str | None
) -> ChatRequest:
    """What the generator is asked. Raises FastMLXError."""
    check_servers(asked.tools.servers, front.mcp)
    asked.items = await keeper.referred(asked.items, context)
    messages = messages_of([*context.items, *asked.items], asked.tools, keeper.seal)
    request = chat_request(asked, messages, client=client, stream=bool(asked.fields.stream))
    return keeper.tools.recalled(asked.fields.prompt_cache_key, request)


async def prepare(
    front: Front,
    keeper: Keeper,
    asked: Asked,
    *,
    client: str | None,
    framing: Framing = SSE,
    local: Local = NOTHING,
) -> Run:
    """A response that is about to be made. Raises FastMLXError for what can be known before."""
    find_model(front.config.settings, asked.fields.model)
    context = await keeper.context(asked, local)
    request = await read_request(front, keeper, asked, context, client)
    keeper.tools.note(asked.fields.prompt_cache_key, request)
    seal = keeper.seal if asked.includes("reasoning.encrypted_content") else None
    demanded = demanded_tool(asked.choice)
    options = Options(asked.mark, asked.tools, wants_summary(asked), seal, demanded)
    writer = ResponseWriter(response_object(asked), options, framing)
    return Run(front, keeper, asked, context, request, writer)


class Run:
    """`frames` once; `response` is the object, at any time."""

    def __init__(
        self,
        front: Front,
        keeper: Keeper,
        asked: Asked,
        context: Context,
        request: ChatRequest,
        writer: ResponseWriter,
    ) -> None:
        self.asked = asked
        self.writer = writer
        self._front = front
        self._keeper = keeper
        self._context = context
        self._request = request

    @property
    def response(self) -> Response:
        return self.writer.response

    @property
    def items(self) -> list[Item]:
        """Of the whole conversation, up to the end of this response."""
        return whole(self._context, self.asked, self.response["output"])

    async def frames(self, tap: Tap | None = None) -> AsyncGenerator[list[bytes], None]:
        """Less those that `tap` took. Raises FastMLXError; then `fail` has the frames that are left
        to send. Close it to give the response up."""
        conversation = self.asked.conversation
        with self._keeper.locked(conversation):
            if conversation is not None:
                await self._keeper.check_head(conversation, self._context)
            try:
                for item in await self._offers():
                    yield self.writer.listed(item)
                async with aclosing(self._events(tap)) as events:
                    async for event in events:
                        if frames := self.writer.encode(event):
                            yield frames
                self.writer.finish()
                await self.keep()
                yield self.writer.end()
            except FastMLXError as error:
                # A client that was told the id may ask what has become of it.
                if self.writer.begun and self.asked.fields.stream:
                    self.writer.abandon("failed", reply_to(error, self.asked.response_id))
                    await self.keep()
                raise

    async def _offers(self) -> list[Item]:
        """What the MCP servers offer that the client has not been told yet."""
        labels = [server.label for server in self.asked.choice.tools.servers]
        known = {
            str(item.get("server_label"))
            for item in [*self._context.items, *self.asked.items]
            if item["type"] == "mcp_list_tools"
        }
        new = [label for label in labels if label not in known]
        tools = await self._front.mcp.ready_tools(new, mcp_loop.PATIENCE_S) if new else []
        return [list_item(label, tools) for label in new]

    async def _events(self, tap: Tap | None) -> AsyncGenerator[Event, None]:
        request = self._request
        idle = self.asked.fields.generate is False
        try:
            if self.asked.fields.truncation == "auto":
                shown = await mcp_loop.offered(self._front.mcp, request)
                fitting = (await self._front.generator.fit(shown)).messages
                request = msgspec.structs.replace(request, messages=fitting)
            if idle:  # the prompt is computed, and stays in the prefix cache
                sampling = msgspec.structs.replace(request.sampling, max_tokens=1)
                request = msgspec.structs.replace(request, sampling=sampling)
            async with aclosing(self._front.chat(request, None if idle else tap)) as events:
                async for event in events:
                    if not idle:
                        yield event
                    elif isinstance(event, Usage):
                        yield msgspec.structs.replace(event, output_tokens=0, reasoning_tokens=0)
        except FastMLXError as error:
            if error.param is not None and error.param.startswith("messages"):
                error.param = "input"
            raise

    async def keep(self) -> None:
        """Writes what there is now. The object says whether that was possible."""
        kept = await self._keeper.keep(self.asked, self._context, self.response)
        self.response["store"] = self.asked.store and kept

    def cancel(self) -> list[bytes]:
        """The last frames of a response that was cancelled."""
        return self.writer.cancel()

    def fail(self, error: BaseException, request_id: str) -> list[bytes]:
        """The last frames of a stream that fails; the object is what it is then."""
        return self.writer.fail(reply_to(error, request_id))
