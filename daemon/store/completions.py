"""What /v1/chat/completions keeps of requests with `store: true`.

What `by` does not see is not there for it. The functions take an open connection; `Store.read` and
`Store.change` run them.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ..protocol.caller import Caller
from .fullness import MOST_BYTES, is_full, outdated
from .owners import seen_by
from .packing import pack, unpack
from .tables import completions

_json = msgspec.json.Encoder().encode


class Kept(NamedTuple):
    """A chat completion as it is kept."""

    id: str
    created_ms: int
    owner: str | None  # name of the API key
    model: str  # as the client named it
    metadata: dict[str, str]
    body: dict[str, Any]  # the object, less its metadata
    messages: list[dict[str, Any]]  # of the request


class Completion(NamedTuple):
    body: dict[str, Any]
    metadata: dict[str, str]

    def object(self) -> dict[str, Any]:
        return self.body | {"metadata": self.metadata}


class Wanted(NamedTuple):
    """Which completions a list shows."""

    model: str | None = None
    metadata: dict[str, str] = {}  # noqa: RUF012 (never changed)
    order: Literal["asc", "desc"] = "asc"
    after: str | None = None  # id of the one before the first
    limit: int = 20


class Unknown(Exception):
    """There is no completion to begin after."""


def keep(
    connection: Connection,
    kept: Kept,
    *,
    limit: int,
    oldest_ms: int,
    most_bytes: int = MOST_BYTES,
) -> bool:
    """Writes a completion, and lets go of those beyond `limit` and before `oldest_ms`. False, and
    it is not written: there is too much already."""
    row = kept._asdict() | {
        "labels": _labels(kept.metadata),
        "body": pack(kept.body),
        "messages": pack(kept.messages),
    }
    del row["metadata"]
    has_room = not is_full(connection, most_bytes)
    if has_room:
        connection.execute(sqlite_insert(completions).values(row))
    connection.execute(delete(completions).where(outdated(completions, limit, oldest_ms)))
    return has_room


def completion(
    connection: Connection, identity: str, oldest_ms: int, by: Caller
) -> Completion | None:
    query = select(completions.c.labels, completions.c.body)
    row = connection.execute(query.where(*_one(identity, oldest_ms, by))).one_or_none()
    return None if row is None else _read(row)


def messages(
    connection: Connection, identity: str, oldest_ms: int, by: Caller
) -> list[dict[str, Any]] | None:
    """Of the request."""
    query = select(completions.c.messages)
    found = connection.scalar(query.where(*_one(identity, oldest_ms, by)))
    return None if found is None else unpack(found, list[dict[str, Any]])


def listed(
    connection: Connection, wanted: Wanted, oldest_ms: int, by: Caller
) -> tuple[list[Completion], bool]:
    """A page, and whether more follows. Raises Unknown."""
    place = tuple_(completions.c.created_ms, completions.c.id)
    query = select(completions.c.labels, completions.c.body).where(*_seen(oldest_ms, by))
    if wanted.after is not None:
        at = select(completions.c.created_ms, completions.c.id)
        row = connection.execute(at.where(*_one(wanted.after, oldest_ms, by))).one_or_none()
        if row is None:
            raise Unknown
        query = query.where(place > tuple(row) if wanted.order == "asc" else place < tuple(row))
    if wanted.model is not None:
        query = query.where(completions.c.model == wanted.model)
    for name, value in wanted.metadata.items():
        label = func.json_each(completions.c.labels).table_valued("key", "value")
        query = query.where(
            select(label.c.key).where(label.c.key == name, label.c.value == value).exists()
        )
    order = (completions.c.created_ms, completions.c.id)
    if wanted.order == "desc":
        order = tuple(column.desc() for column in order)
    rows = connection.execute(query.order_by(*order).limit(wanted.limit + 1)).all()
    return [_read(row) for row in rows[: wanted.limit]], len(rows) > wanted.limit


def describe(
    connection: Connection, identity: str, metadata: dict[str, str], oldest_ms: int, by: Caller
) -> bool:
    """New metadata. False when there is no such completion."""
    change = update(completions).where(*_one(identity, oldest_ms, by))
    return connection.execute(change.values(labels=_labels(metadata))).rowcount > 0


def forget(connection: Connection, identity: str, by: Caller) -> bool:
    """False when there is no such completion."""
    gone = delete(completions).where(*_one(identity, 0, by))
    return connection.execute(gone).rowcount > 0


def _seen(oldest_ms: int, by: Caller) -> tuple[ColumnElement[bool], ...]:
    return completions.c.created_ms >= oldest_ms, seen_by(by, completions.c.owner)


def _one(identity: str, oldest_ms: int, by: Caller) -> tuple[ColumnElement[bool], ...]:
    return completions.c.id == identity, *_seen(oldest_ms, by)


def _read(row: Any) -> Completion:
    labels = msgspec.json.decode(row.labels, type=dict[str, str])
    return Completion(unpack(row.body, dict[str, Any]), labels)


def _labels(metadata: dict[str, str]) -> str:
    return _json(metadata).decode()
