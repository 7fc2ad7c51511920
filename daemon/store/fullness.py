"""How much clients may have kept: what they said, and were answered, fills no disk."""

from __future__ import annotations

from sqlalchemy import Connection

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
