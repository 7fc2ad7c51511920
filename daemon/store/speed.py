"""How fast a model answered lately."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import select

from .tables import usage

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Speed(NamedTuple):
    """Medians of the last requests of a model; None when there were none."""

    requests: int  # that were looked at
    tokens_per_s: float | None  # of one stream, after its first token
    ttft_ms: float | None


def speed(connection: Connection, model: str, newest: int = 2000, most: int = 50) -> Speed:
    """Of the last `most` answers among the `newest` requests of all models: the bound keeps a
    large database as cheap as a small one."""
    last = select(usage).order_by(usage.c.id.desc()).limit(newest).subquery()
    rows = connection.execute(
        select(last.c.output_tokens, last.c.ttft_ms, last.c.duration_ms)
        .where(last.c.model == model, last.c.ttft_ms.is_not(None), last.c.error.is_(None))
        .order_by(last.c.id.desc())
        .limit(most)
    ).all()
    rates = [
        1000 * (tokens - 1) / (duration_ms - ttft_ms)
        for tokens, ttft_ms, duration_ms in rows
        if tokens > 1 and duration_ms > ttft_ms
    ]
    times = [ttft_ms for _, ttft_ms, _ in rows]
    return Speed(len(rows), median(rates) if rates else None, median(times) if times else None)
