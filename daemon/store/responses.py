"""What /v1/responses keeps: responses, the turns that they are made of, conversations.

    conversation ─head─► turn ─parent─► turn ─parent─► turn
                           ▲              ▲              ▲
                        response       response       (deleted)

A turn holds only what one response added. It stays while anything leads to it, so a conversation
can go on when its first responses have been deleted, or were too old. Turns and conversations
belong to the API key that they were made with: what `by` does not see is not there for it. The
functions take an open connection; `Store.read` and `Store.change` run them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ..protocol.caller import ANYBODY, Caller
from .fullness import MOST_BYTES, is_full, outdated
from .owners import seen_by
from .packing import pack, unpack
from .tables import conversations, responses, turns

MAX_CHAIN = 10_000  # turns
_ANCESTORS = text(
    """
    WITH RECURSIVE chain(id, parent, items, depth) AS (
        SELECT id, parent, items, 0 FROM turns WHERE id = :id
        UNION ALL
        SELECT turns.id, turns.parent, turns.items, depth + 1
        FROM turns JOIN chain ON turns.id = chain.parent WHERE depth < :most
    )
    SELECT items FROM chain ORDER BY depth DESC
    """
)


class Turn(msgspec.Struct, array_like=True):
    """What one response added to the conversation: items in the shape of the Responses API."""

    input: list[dict[str, Any]]
    output: list[dict[str, Any]]
    before: list[dict[str, Any]] = []  # what went before, where no parent has it

    def items(self) -> list[dict[str, Any]]:
        return [*self.before, *self.input, *self.output]


class Kept(NamedTuple):
    """A response as it is kept."""

    id: str
    parent: str | None  # the turn that it goes on from
    created_ms: int
    turn: Turn  # its `before` has all items of the parents, in case they are not here (any more)
    body: dict[str, Any] | None  # the response object; None keeps the turn alone
    conversation: str | None = None  # that goes on from here
    owner: str | None = None  # name of an API key


class Conversation(NamedTuple):
    id: str
    created_ms: int
    head: str | None
    metadata: dict[str, str]
    owner: str | None = None


def response(
    connection: Connection, identity: str, oldest_ms: int, by: Caller = ANYBODY
) -> dict[str, Any] | None:
    """The response object, unless it is from before `oldest_ms`."""
    found = connection.scalar(
        select(responses.c.body)
        .join(turns, turns.c.id == responses.c.id)
        .where(
            responses.c.id == identity,
            responses.c.created_ms >= oldest_ms,
            seen_by(by, turns.c.owner),
        )
    )
    return None if found is None else unpack(found, dict[str, Any])


def turn(connection: Connection, identity: str, by: Caller = ANYBODY) -> Turn | None:
    """What the response `identity` added."""
    found = connection.scalar(
        select(turns.c["items"]).where(turns.c.id == identity, seen_by(by, turns.c.owner))
    )
    return None if found is None else unpack(found, Turn)


def chain(connection: Connection, identity: str) -> list[Turn]:
    """All turns up to this one, the first one first; none when there is no such turn."""
    rows = connection.execute(_ANCESTORS, {"id": identity, "most": MAX_CHAIN}).scalars()
    return [unpack(row, Turn) for row in rows]


def conversation(
    connection: Connection, identity: str, by: Caller = ANYBODY
) -> Conversation | None:
    row = connection.execute(
        select(conversations).where(
            conversations.c.id == identity, seen_by(by, conversations.c.owner)
        )
    ).one_or_none()
    if row is None:
        return None
    labels = unpack(row.body, dict[str, str])
    return Conversation(row.id, row.created_ms, row.head, labels, row.owner)


def keep(
    connection: Connection,
    kept: Kept,
    *,
    limit: int,
    oldest_ms: int,
    most_bytes: int = MOST_BYTES,
) -> bool:
    """Writes a response, or what has become of it, and lets go of those beyond `limit` and before
    `oldest_ms`. False, and a new one is not written: there is too much already."""
    is_new = turn(connection, kept.id) is None
    has_room = not is_new or not is_full(connection, most_bytes)
    if has_room:
        _put(connection, kept)
    _let_go(connection, limit, oldest_ms)
    return has_room


def _put(connection: Connection, kept: Kept) -> None:
    turn, parent = kept.turn, kept.parent
    has_parent = select(turns.c.id).where(turns.c.id == parent)
    if parent is not None and connection.execute(has_parent).first():
        turn = Turn(turn.input, turn.output)
    else:
        parent = None
    _put_turn(connection, kept.id, parent, turn, kept.owner)
    if kept.body is not None:
        row = {"id": kept.id, "created_ms": kept.created_ms, "body": pack(kept.body)}
        put = sqlite_insert(responses).values(row)
        connection.execute(put.on_conflict_do_update(set_={"body": put.excluded.body}))
    if kept.conversation is not None:
        _advance(connection, kept.conversation, kept.id)


def _let_go(connection: Connection, limit: int, oldest_ms: int) -> None:
    gone = select(responses.c.id).where(outdated(responses, limit, oldest_ms))
    for identity in connection.scalars(gone).all():
        forget(connection, identity)


def forget(connection: Connection, identity: str, by: Caller = ANYBODY) -> bool:
    """Deletes a response, and what was said in it unless something goes on from there. False when
    there is none."""
    if turn(connection, identity, by) is None:
        return False
    found = connection.execute(delete(responses).where(responses.c.id == identity)).rowcount
    _drop_unused(connection, identity)
    return found > 0


def put_conversation(
    connection: Connection,
    given: Conversation,
    items: Turn | None,
    most_bytes: int = MOST_BYTES,
) -> bool:
    """Writes a conversation. `items`, if there are any, become the turn `given.head`. False, and
    nothing is written that would be more: there is too much already."""
    before = conversation(connection, given.id)
    if (before is None or items is not None) and is_full(connection, most_bytes):
        return False
    if items is not None and given.head is not None:
        parent = before.head if before else None
        _put_turn(connection, given.head, parent, items, given.owner)
    row = {
        "id": given.id,
        "created_ms": given.created_ms,
        "head": given.head,
        "body": pack(given.metadata),
        "owner": given.owner,
    }
    put = sqlite_insert(conversations).values(row)
    changed = {"head": put.excluded.head, "body": put.excluded.body}
    connection.execute(put.on_conflict_do_update(set_=changed))
    return True


def _advance(connection: Connection, identity: str, head: str) -> None:
    before = connection.scalar(select(conversations.c.head).where(conversations.c.id == identity))
    connection.execute(
        update(conversations).where(conversations.c.id == identity).values(head=head)
    )
    _drop_unused(connection, before)


def forget_conversation(connection: Connection, identity: str, by: Caller = ANYBODY) -> bool:
    """False when there is none."""
    found = conversation(connection, identity, by)
    if found is None:
        return False
    connection.execute(delete(conversations).where(conversations.c.id == identity))
    if found.head is not None:
        _drop_unused(connection, found.head)
    return True


def _put_turn(
    connection: Connection, identity: str, parent: str | None, items: Turn, owner: str | None
) -> None:
    row = {"id": identity, "parent": parent, "items": pack(items), "owner": owner}
    put = sqlite_insert(turns).values(row)
    connection.execute(put.on_conflict_do_update(set_={"items": put.excluded["items"]}))


def _drop_unused(connection: Connection, identity: str | None) -> None:
    """Deletes the turn, then its parent, and so on, as long as nothing leads there."""
    while identity is not None:
        used = (
            select(responses.c.id).where(responses.c.id == identity),
            select(turns.c.id).where(turns.c.parent == identity),
            select(conversations.c.id).where(conversations.c.head == identity),
        )
        if any(connection.execute(query.limit(1)).first() for query in used):
            return
        parent = connection.scalar(select(turns.c.parent).where(turns.c.id == identity))
        connection.execute(delete(turns).where(turns.c.id == identity))
        identity = parent
