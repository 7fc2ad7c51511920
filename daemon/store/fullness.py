"""How much clients may have kept, and for how long: what they said, and were answered, fills no
disk."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, or_, select

MOST_BYTES = 4 * 1024**3  # of the file, beyond which nothing is kept that is new
FULL = (
    f"fastmlx.db holds {MOST_BYTES >> 30} GiB: nothing new is kept until responses or "
    "conversations are deleted, or have become too old (responses.max_age)."
)


def is_full(connection: Connection, most_bytes: int = MOST_BYTES) -> bool:
    """Pages that were freed count as room: the file never gets smaller."""
    pages, free, size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size > most_bytes


def outdated(kept: Table, limit: int, oldest_ms: int) -> ColumnElement[bool]:
    """Which of its rows go: those beyond the `limit` newest ones, and those before `oldest_ms`."""
    newest = select(kept.c.id).order_by(kept.c.created_ms.desc(), kept.c.id)
    return or_(kept.c.created_ms < oldest_ms, kept.c.id.in_(newest.limit(-1).offset(limit)))
