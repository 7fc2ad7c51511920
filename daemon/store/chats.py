"""The conversations of the dashboard: each a tree of messages, of which one path is shown.

    user ─► assistant ─► user ─► assistant         (leaf)
       └──► assistant           (generated again)
    user (edited) ─► assistant

The functions take an open connection; `Store.read` and `Store.change` run them.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from .packing import pack, unpack
from .tables import chat_messages, chats


class Attached(msgspec.Struct, frozen=True):
    """A file that the user gave along, as text."""

    name: str
    text: str
    pages: int | None = None  # of a PDF


class ToolUse(msgspec.Struct, frozen=True):
    """A tool of an MCP server that the model had called."""

    id: str
    server: str
    name: str
    arguments: str  # JSON text
    status: str
    output: str = ""


class Facts(msgspec.Struct, frozen=True):
    """What an answer took. Times in seconds."""

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    ttft_s: float
    duration_s: float

    @property
    def tokens_per_s(self) -> float | None:
        """After the first token; None for an answer of one."""
        rest_s = self.duration_s - self.ttft_s
        return (self.output_tokens - 1) / rest_s if self.output_tokens > 1 and rest_s > 0 else None


class Message(msgspec.Struct):
    """One message. `parent` is the one before it; None for a first one."""

    id: str
    parent: str | None
    role: Literal["user", "assistant"]
    created_ms: int
    text: str = ""
    files: list[Attached] = []
    reasoning: str = ""
    tools: list[ToolUse] = []
    model: str | None = None
    facts: Facts | None = None
    finish: str | None = None  # "stop", "length", "stopped"
    error: str | None = None


class Options(msgspec.Struct, frozen=True):
    """How answers are made; None: the model's defaults."""

    model: str
    system: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    use_tools: bool = False  # those of the MCP servers


class Chat(NamedTuple):
    id: str
    title: str
    updated_ms: int
    leaf: str | None
    options: Options


class Heading(NamedTuple):
    """A conversation in the list."""

    id: str
    title: str
    updated_ms: int


def headings(connection: Connection, words: str = "", limit: int = 100) -> list[Heading]:
    """The latest first; `words`: only those with these in the title."""
    query = select(chats.c.id, chats.c.title, chats.c.updated_ms)
    if words:
        query = query.where(chats.c.title.icontains(words, autoescape=True))
    rows = connection.execute(query.order_by(chats.c.updated_ms.desc()).limit(limit))
    return [Heading(*row) for row in rows]


def chat(connection: Connection, identity: str) -> Chat | None:
    row = connection.execute(select(chats).where(chats.c.id == identity)).one_or_none()
    if row is None:
        return None
    return Chat(row.id, row.title, row.updated_ms, row.leaf, unpack(row.body, Options))


def messages(connection: Connection, identity: str) -> list[Message]:
    """All of the conversation's, in the order in which they were made."""
    rows = connection.execute(
        select(chat_messages.c.body)
        .where(chat_messages.c.chat == identity)
        .order_by(chat_messages.c.created_ms, chat_messages.c.id)
    ).scalars()
    return [unpack(row, Message) for row in rows]


def put(connection: Connection, given: Chat, new: list[Message]) -> None:
    """Writes a conversation and some of its messages."""
    row = {
        "id": given.id,
        "updated_ms": given.updated_ms,
        "title": given.title,
        "leaf": given.leaf,
        "body": pack(given.options),
    }
    put = sqlite_insert(chats).values(row)
    changed = {name: put.excluded[name] for name in row if name != "id"}
    connection.execute(put.on_conflict_do_update(set_=changed))
    for message in new:
        put_message(connection, given.id, message)


def put_message(connection: Connection, identity: str, message: Message) -> None:
    """Writes one message; nothing when its conversation was deleted meanwhile."""
    if connection.execute(select(chats.c.id).where(chats.c.id == identity)).first() is None:
        return
    row = {
        "id": message.id,
        "chat": identity,
        "created_ms": message.created_ms,
        "body": pack(message),
    }
    put = sqlite_insert(chat_messages).values(row)
    connection.execute(put.on_conflict_do_update(set_={"body": put.excluded.body}))


def forget(connection: Connection, identity: str) -> bool:
    """False when there is none."""
    connection.execute(delete(chat_messages).where(chat_messages.c.chat == identity))
    return connection.execute(delete(chats).where(chats.c.id == identity)).rowcount > 0
