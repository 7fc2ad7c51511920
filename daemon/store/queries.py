"""Questions to the database: functions of an open read connection, run by `Store.read`.

Each walks an index over the span it is asked about, so none slows down as the file grows; spans of
hours and days read `usage_minutes` and `usage_quarters`. Spans include `since_ms` and, where given,
exclude `until_ms`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
from sqlalchemy import Connection, func, select

from .rows import Page, Percentiles, Series, Timeline, Totals, UsageRow, Used
from .tables import usage, usage_minutes, usage_quarters

MINUTE_MS = 60_000
QUARTER_MS = 900_000

_ROW = select(*(usage.c[name] for name in UsageRow.__struct_fields__))


def totals(connection: Connection, since_ms: int) -> Totals:
    """Sums of everything since `since_ms`, which counts from the start of its minute."""
    minutes = usage_minutes.c
    row = connection.execute(
        select(*(func.coalesce(func.sum(minutes[name]), 0) for name in Totals._fields)).where(
            minutes.minute >= since_ms // MINUTE_MS
        )
    ).one()
    return Totals(*row)


def used(connection: Connection, starts_ms: Sequence[int]) -> list[Used]:
    """Who used what in spans that follow each other: `starts_ms` are their beginnings and, as the
    last one, the end. They count from the start of their quarter of an hour, so days of any time
    zone, also those of 23 or 25 hours, can be asked for. In order of span, model and key."""
    quarters = usage_quarters.c
    sums = [func.sum(quarters[name]) for name in Totals._fields]
    found: list[Used] = []
    for start_ms, end_ms in pairwise(starts_ms):
        rows = connection.execute(
            select(quarters.model, quarters.key, *sums)
            .where(
                quarters.quarter >= start_ms // QUARTER_MS, quarters.quarter < end_ms // QUARTER_MS
            )
            .group_by(quarters.model, quarters.key)
            .order_by(quarters.model, quarters.key)
        )
        found += [Used(start_ms, model, key, Totals(*row)) for model, key, *row in rows]
    return found


def timeline(connection: Connection, start_ms: int, bucket_ms: int, buckets: int) -> Timeline:
    """Requests and tokens per model and bucket. `start_ms` and `bucket_ms` are whole minutes.

    Raises ValueError for a bucket that cuts a minute.
    """
    if start_ms % MINUTE_MS or bucket_ms % MINUTE_MS or bucket_ms <= 0:
        raise ValueError("buckets of the timeline must be whole minutes")
    minutes = usage_minutes.c
    first, width = start_ms // MINUTE_MS, bucket_ms // MINUTE_MS
    bucket = ((minutes.minute - first) // width).label("bucket")
    rows = connection.execute(
        select(
            minutes.model,
            bucket,
            func.sum(minutes.requests),
            func.sum(minutes.prompt_tokens),
            func.sum(minutes.output_tokens),
            func.sum(minutes.cached_tokens),
        )
        .where(minutes.minute >= first, minutes.minute < first + width * buckets)
        .group_by(minutes.model, bucket)
        .order_by(minutes.model)
    )
    columns: dict[str, list[list[int]]] = {}
    for model, index, *sums in rows:
        series = columns.setdefault(model, [[0] * buckets for _ in sums])
        for column, value in zip(series, sums, strict=True):
            column[index] = value
    return Timeline(
        start_ms,
        bucket_ms,
        buckets,
        tuple(Series(model, *map(tuple, four)) for model, four in columns.items()),
    )


def ttft(connection: Connection, since_ms: int, newest: int = 1000) -> Percentiles:
    """Time to first token of the newest requests since `since_ms`, at most `newest` of them.

    The bound keeps a busy day as cheap as a quiet one; 1,000 requests place p95 well.
    """
    times = sorted(
        connection.scalars(
            select(usage.c.ttft_ms)
            .where(usage.c.at_ms >= since_ms, usage.c.ttft_ms.is_not(None))
            .order_by(usage.c.at_ms.desc())
            .limit(newest)
        )
    )
    if not times:
        return Percentiles(None, None, 0)

    def nearest(percent: int) -> float:
        return times[-(-len(times) * percent // 100) - 1]

    return Percentiles(nearest(50), nearest(95), len(times))


def recent(connection: Connection, limit: int, before: int | None = None) -> Page:
    """The requests that ended last; `before` is the `older` mark of the page before."""
    query = _ROW.add_columns(usage.c.id).order_by(usage.c.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(usage.c.id < before)
    found = connection.execute(query).mappings().all()
    older = found[limit - 1]["id"] if len(found) > limit else None
    return Page([_row(values) for values in found[:limit]], older)


def errors(connection: Connection, limit: int, since_ms: int = 0) -> list[UsageRow]:
    """The newest requests that ended in an error, newest first."""
    query = (
        _ROW.where(usage.c.error.is_not(None), usage.c.at_ms >= since_ms)
        .order_by(usage.c.at_ms.desc())
        .limit(limit)
    )
    return [_row(values) for values in connection.execute(query).mappings()]


def _row(values: object) -> UsageRow:
    return msgspec.convert(values, UsageRow, strict=False)
