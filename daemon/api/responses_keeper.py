"""What is kept of responses between two requests, with the errors that clients see.

A request that goes on from another one (`previous_response_id`, `conversation`) gets the items of
all turns before it; see `store.responses`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol import caller
from ..protocol.errors import (
    BadRequest,
    Conflict,
    Overloaded,
    PreviousResponseNotFound,
    ResponseNotFound,
)
from ..store import responses as stored
from ..store.fullness import FULL
from .keeping import Keeping
from .responses_input import Item, response_of
from .responses_object import Response
from .responses_recall import ToolMemory, to_json
from .responses_seal import Seal

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ..tasks.front import Front
    from .responses_fields import Asked

log = logging.getLogger(__name__)

MAX_NAMED = 64 * 1024**2  # bytes of items that a request names, instead of sending them


class Context(NamedTuple):
    """What went before a request."""

    parent: str | None = None  # its last turn
    items: list[Item] = []  # noqa: RUF012 (never changed)


class Local(NamedTuple):
    """Responses that only one connection knows: id → all items up to their end."""

    items: Mapping[str, list[Item]]


NOTHING = Local({})


class Keeper(Keeping):
    """For one front. Methods raise FastMLXError. What another API key made is not there."""

    def __init__(self, front: Front) -> None:
        super().__init__(front)
        self.tools = ToolMemory()
        self._busy: set[str] = set()  # conversations that a request is at work on

    @cached_property
    def seal(self) -> Seal:
        try:
            return Seal.of(self._front.home.secret)
        except OSError as error:  # a full disk is no reason to refuse an answer
            log.warning("what is sealed now cannot be read after a restart: %s", error)
            return Seal.fleeting()

    # ---- what went before

    async def context(self, asked: Asked, local: Local = NOTHING) -> Context:
        """Raises PreviousResponseNotFound, or ResponseNotFound for a conversation."""
        before = asked.fields.previous_response_id
        if before is not None:
            if before in local.items:
                return Context(before, local.items[before])
            found = await self._read(self._chain, before, caller.current())
            if found is None:
                raise PreviousResponseNotFound(
                    f"There is no response '{before[:100]}' (any more); it was made with store: "
                    "false, has been deleted, or was too old.",
                    param="previous_response_id",
                )
            return Context(before, found)
        if asked.conversation is None:
            return Context()
        head = (await self.conversation(asked.conversation)).head
        return Context(head, [] if head is None else await self.items_until(head))

    def _chain(self, connection: Connection, identity: str, by: caller.Caller) -> list[Item] | None:
        if stored.response(connection, identity, self._oldest_ms, by) is None:
            return None
        return [item for turn in stored.chain(connection, identity) for item in turn.items()]

    async def items_until(self, turn: str) -> list[Item]:
        """Of a turn and of all before it."""
        turns = await self._read(stored.chain, turn)
        return [item for turn in turns for item in turn.items()]

    async def referred(self, items: list[Item], context: Context) -> list[Item]:
        """The items, with those that are only named in their places. Raises ResponseNotFound, and
        BadRequest for too much of them: few words may name much."""
        named = [str(item.get("id")) for item in items if item["type"] == "item_reference"]
        if not named:
            return items
        if len(named) != len(set(named)):
            raise BadRequest("input: an item is named twice.", param="input")
        known = await self._items(named, context)
        made: list[Item] = []
        for item in items:
            if item["type"] == "item_reference":
                identity = str(item.get("id"))
                if identity not in known:
                    raise ResponseNotFound(
                        f"There is no item '{identity[:100]}' (any more).", param="input"
                    )
                item = known[identity]
            made.append(item)
        return made

    async def _items(self, named: Collection[str], context: Context) -> dict[str, Item]:
        wanted, known = set(named), dict[str, Item]()
        makers = dict.fromkeys(made_by for each in named if (made_by := response_of(each)))
        size = 0
        for made_by in (None, *makers):
            turn = await self._read(stored.turn, made_by, caller.current()) if made_by else None
            for item in context.items if made_by is None else turn.items() if turn else ():
                identity = str(item.get("id"))
                if identity in wanted and identity not in known:
                    known[identity] = item
                    size += len(to_json(item))
            if size > MAX_NAMED:
                raise BadRequest(
                    f"input: the items that are only named have more than {MAX_NAMED:,} bytes.",
                    param="input",
                )
        return known

    # ---- responses

    async def response(self, identity: str) -> Response:
        """Raises ResponseNotFound."""
        by = caller.current()
        found = await self._read(stored.response, identity, self._oldest_ms, by)
        if found is None:
            raise ResponseNotFound(f"There is no response '{identity[:100]}' (any more).")
        return found

    async def input_of(self, identity: str) -> list[Item]:
        """The items that a response was asked with. Raises ResponseNotFound."""
        await self.response(identity)
        turn = await self._read(stored.turn, identity, caller.current())
        return turn.input if turn else []

    async def keep(self, asked: Asked, context: Context, response: Response) -> bool:
        """Whether it is on disk now; when it cannot be written, the log says why."""
        body = response if asked.store and self.keeps else None
        if body is None and asked.conversation is None:
            return False
        kept = stored.Kept(
            asked.response_id,
            context.parent,
            int(asked.created_at * 1000),
            stored.Turn(asked.items, response["output"], context.items),
            body,
            asked.conversation,
            caller.current_key(),
        )
        written = await self._keep(stored.keep, kept, f"response {asked.response_id}")
        return written and body is not None

    async def forget(self, identity: str) -> None:
        """Raises ResponseNotFound."""
        if not await self._change(stored.forget, identity, caller.current()):
            raise ResponseNotFound(f"There is no response '{identity[:100]}' (any more).")

    # ---- conversations

    async def conversation(self, identity: str) -> stored.Conversation:
        """Raises ResponseNotFound."""
        found = await self._read(stored.conversation, identity, caller.current())
        if found is None:
            raise ResponseNotFound(f"There is no conversation '{identity[:100]}' (any more).")
        return found

    async def check_head(self, identity: str, context: Context) -> None:
        """Raises Conflict when the conversation has gone on since the context was read."""
        if (await self.conversation(identity)).head != context.parent:
            raise Conflict("The conversation has gone on meanwhile.", param="conversation")

    async def put_conversation(
        self, conversation: stored.Conversation, items: list[Item] | None = None
    ) -> None:
        """`items`, if given, are added as the turn `conversation.head`. Raises Overloaded."""
        turn = None if items is None else stored.Turn(items, [])
        if not await self._change(stored.put_conversation, conversation, turn):
            raise Overloaded(FULL)

    async def forget_conversation(self, identity: str) -> None:
        """Raises ResponseNotFound."""
        if not await self._change(stored.forget_conversation, identity, caller.current()):
            raise ResponseNotFound(f"There is no conversation '{identity[:100]}' (any more).")

    @contextmanager
    def locked(self, conversation: str | None) -> Iterator[None]:
        """One request at a time may add to a conversation; None locks nothing. Raises Conflict."""
        if conversation is None:
            yield
            return
        if conversation in self._busy:
            raise Conflict("Another request is at work on this conversation.", param="conversation")
        self._busy.add(conversation)
        try:
            yield
        finally:
            self._busy.discard(conversation)


def whole(context: Context, asked: Asked, output: list[dict[str, Any]]) -> list[Item]:
    """All items up to the end of a response."""
    return [*context.items, *asked.items, *output]
