"""Questions to the database: functions of an open read connection, run by `Store.read`.

Each walks an index over the span it is asked about, so none slows down as the file grows; spans of
hours and days read `usage_minutes` and `usage_quarters`. Spans include `since_ms` and, where given,
exclude `until_ms`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, or_, select

from . import latency
from .rows import Filters, Latency, Mark, Page, Series, Timeline, Totals, UsageRow, Used
from .tables import usage, usage_latency, usage_minutes, usage_quarters

MINUTE_MS = 60_000
QUARTER_MS = 900_000

ANY = Filters()
MANY = 2_000  # ids with one beginning

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
        rows: Iterable[Any] = connection.execute(
            select(quarters.model, quarters.key, *sums)
            .where(
                quarters.quarter >= start_ms // QUARTER_MS, quarters.quarter < end_ms // QUARTER_MS
            )
            .group_by(quarters.model, quarters.key)
            .order_by(quarters.model, quarters.key)
        )
        found += [Used(start_ms, row[0], row[1], Totals(*row[2:])) for row in rows]
    return found


def timeline(connection: Connection, start_ms: int, bucket_ms: int, buckets: int) -> Timeline:
    """Requests and tokens per model and bucket. `start_ms` and `bucket_ms` are whole minutes.

    Raises ValueError for a bucket that cuts a minute.
    """
    if start_ms % MINUTE_MS or bucket_ms % MINUTE_MS or bucket_ms <= 0:
        raise ValueError("buckets of the timeline must be whole minutes")
    # The coarser table where buckets are made of whole quarters of an hour: a month then is as
    # cheap as a day.
    quarters = not (start_ms % QUARTER_MS or bucket_ms % QUARTER_MS)
    sums = usage_quarters.c if quarters else usage_minutes.c
    at = usage_quarters.c.quarter if quarters else usage_minutes.c.minute
    unit_ms = QUARTER_MS if quarters else MINUTE_MS
    first, width = start_ms // unit_ms, bucket_ms // unit_ms
    bucket = ((at - first) // width).label("bucket")
    rows = connection.execute(
        select(
            sums.model,
            bucket,
            func.sum(sums.requests),
            func.sum(sums.prompt_tokens),
            func.sum(sums.output_tokens),
            func.sum(sums.cached_tokens),
        )
        .where(at >= first, at < first + width * buckets)
        .group_by(sums.model, bucket)
        .order_by(sums.model)
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


def latency_now(connection: Connection, since_ms: int, newest: int = 10_000) -> Latency:
    """Exactly, of the newest requests since `since_ms`, at most `newest` of them: the bound keeps
    a busy hour as cheap as a quiet one."""
    rows = connection.execute(
        select(usage.c.ttft_ms, usage.c.duration_ms, usage.c.output_tokens)
        .where(usage.c.at_ms >= since_ms, usage.c.ttft_ms.is_not(None))
        .order_by(usage.c.at_ms.desc())
        .limit(newest)
    ).all()
    return Latency(
        latency.of_times([ttft_ms for ttft_ms, _, _ in rows]),
        latency.of_times([latency.itl_ms(*row) for row in rows if row[2] > 1]),
    )


def latency_of_hours(connection: Connection, since_ms: int) -> Latency:
    """Within 4.5 %, of all requests since `since_ms`, which counts from the start of its hour."""
    counts = usage_latency.c
    rows = connection.execute(
        select(counts.metric, counts.bucket, func.sum(counts.requests))
        .where(counts.hour >= since_ms // latency.HOUR_MS)
        .group_by(counts.metric, counts.bucket)
        .order_by(counts.metric, counts.bucket)
    ).all()
    return Latency(
        *(
            latency.of_buckets(
                [(bucket, number) for name, bucket, number in rows if name == metric]
            )
            for metric in latency.METRICS
        )
    )


def recent(
    connection: Connection, limit: int, before: Mark | None = None, filters: Filters = ANY
) -> Page:
    """The requests that arrived last; `before` is the `older` mark of the page before."""
    query = (
        _ROW.add_columns(usage.c.id)
        .where(*_conditions(filters), *_beginning(connection, filters.id))
        .order_by(usage.c.at_ms.desc(), usage.c.id.desc())
        .limit(limit + 1)
    )
    if before is not None:
        # The first condition alone would do; it is what the index is walked from.
        query = query.where(
            usage.c.at_ms <= before.at_ms,
            or_(usage.c.at_ms < before.at_ms, usage.c.id < before.id),
        )
    found = connection.execute(query).mappings().all()
    last = found[limit - 1] if len(found) > limit else None
    older = Mark(last["at_ms"], last["id"]) if last is not None else None
    return Page([_row(values) for values in found[:limit]], older)


def _conditions(filters: Filters) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        usage.c[name] == value
        for name in ("model", "dialect", "key")
        if (value := getattr(filters, name)) is not None
    ]
    if filters.since_ms is not None:
        conditions.append(usage.c.at_ms >= filters.since_ms)
    if filters.until_ms is not None:
        conditions.append(usage.c.at_ms < filters.until_ms)
    if filters.status == "error":
        conditions.append(usage.c.error.is_not(None))
    elif filters.status is not None:
        conditions.append(usage.c.error.is_(None))
        cancelled = usage.c.finish_reason.is_not_distinct_from("cancelled")
        conditions.append(cancelled if filters.status == "cancelled" else ~cancelled)
    return conditions


def _beginning(connection: Connection, start: str | None) -> list[ColumnElement[bool]]:
    """Ids that begin so, as a span: a LIKE would need another collation for the index. Where many
    do, walking back in time finds some sooner than sorting all of them: `|| ''` keeps SQLite from
    the index."""
    if not start:
        return []
    column: ColumnElement[str] = usage.c.request_id
    span = [column >= start, column < start + chr(0x10FFFF)]
    if connection.scalar(select(usage.c.id).where(*span).offset(MANY - 1).limit(1)) is not None:
        column = column + ""
        span = [column >= start, column < start + chr(0x10FFFF)]
    return span


def request(connection: Connection, request_id: str, limit: int = 100) -> list[UsageRow]:
    """All rows of one request, in order of arrival: with tools of MCP servers each round is one."""
    query = _ROW.where(usage.c.request_id == request_id).order_by(usage.c.at_ms, usage.c.id)
    return [_row(values) for values in connection.execute(query.limit(limit)).mappings()]


def seen(connection: Connection, name: str) -> list[str]:
    """Which models, dialects or keys (`name` says which) there are requests of. Steps through an
    index from one value to the next, as SQLite's DISTINCT would not."""
    column = usage.c[name]
    found: list[str] = []
    while len(found) < 100:
        query = select(column).order_by(column).limit(1)
        after = column > found[-1] if found else column.is_not(None)
        value = connection.scalar(query.where(after))
        if value is None:
            break
        found.append(value)
    return found


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
