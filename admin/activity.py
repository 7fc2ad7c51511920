"""What has happened: today's sums, last errors, and models over time, ready to draw."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from ..daemon.store import queries
from ..daemon.store.database import StoreUnavailable
from ..daemon.store.rows import Latency, Series, Timeline, Totals, UsageRow
from .model_row import COLOURS, colour
from .numbers import count
from .plot import Line, Plot, plot

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from ..daemon.store.store import Store

MINUTE_MS = 60_000
READ_FACTOR = 100


class Range(NamedTuple):
    """A span that the plots can show."""

    key: str  # in the address
    label: str
    words: str  # "Requests per minute, last hour"
    per: str
    bucket_ms: int
    buckets: int


RANGES = {
    found.key: found
    for found in (
        Range("1h", "1 h", "last hour", "per minute", MINUTE_MS, 60),
        Range("24h", "24 h", "last 24 hours", "per half hour", 30 * MINUTE_MS, 48),
        Range("7d", "7 d", "last 7 days", "per 3 hours", 180 * MINUTE_MS, 56),
        Range("30d", "30 d", "last 30 days", "per half day", 720 * MINUTE_MS, 60),
    )
}
DEFAULT_RANGE = "1h"


class TableRow(NamedTuple):
    """One bucket of one model, for those who prefer numbers to bars."""

    label: str
    model: str
    requests: int
    prompt_tokens: int
    output_tokens: int


class Activity(NamedTuple):
    today: Totals
    latency: Latency  # in the range
    errors: list[UsageRow]
    plots: list[Plot]  # empty when nothing happened in the range
    legend: list[tuple[str, str]]  # model, colour
    table: list[TableRow]


class Recorded(NamedTuple):
    """What one read of the database gives."""

    today: Totals
    latency: Latency
    errors: list[UsageRow]
    timeline: Timeline


class _Read(NamedTuple):
    state: tuple[object, ...]
    recorded: Recorded
    good_until_s: float  # monotonic


class ActivityReader:
    """Reads and draws; keeps the last reads, because most polls find that nothing was recorded.

    A read is good until a row is written, the minute ends or the database is another one, and in
    any case for a hundred times as long as it took: reading costs at most 1 % of a core.
    """

    def __init__(self) -> None:
        self._reads: dict[str, _Read] = {}

    async def read(
        self, store: Store, chosen: Range, models: Sequence[str]
    ) -> tuple[Activity | None, str | None]:
        """(activity, None), or (None, why there is none). `models` in order of their colours."""
        now_ms = int(time.time() * 1000)
        state = (store, store.written, store.problem, now_ms // MINUTE_MS)
        known = self._reads.get(chosen.key)
        began = time.monotonic()
        if known is None or (known.state != state and began > known.good_until_s):
            start_ms = span_start_ms(chosen, now_ms)
            try:
                recorded = await store.read(_recorded, chosen, start_ms, midnight_ms(now_ms))
            except StoreUnavailable as error:
                return None, str(error)
            now_s = time.monotonic()
            known = _Read(state, recorded, now_s + READ_FACTOR * (now_s - began))
            self._reads[chosen.key] = known
        return draw(known.recorded, chosen, models), None


def _recorded(connection: Connection, chosen: Range, start_ms: int, today_ms: int) -> Recorded:
    an_hour = chosen.key == "1h"
    latency = queries.latency_now if an_hour else queries.latency_of_hours
    return Recorded(
        queries.totals(connection, today_ms),
        latency(connection, start_ms),
        queries.errors(connection, 5, today_ms - 6 * 24 * 60 * MINUTE_MS),
        queries.timeline(connection, start_ms, chosen.bucket_ms, chosen.buckets),
    )


def draw(recorded: Recorded, chosen: Range, models: Sequence[str]) -> Activity:
    """Plots of what was recorded; models that are no longer declared come last."""
    timeline = recorded.timeline
    order = {name: index for index, name in enumerate(models)}
    for series in timeline.series:
        order.setdefault(series.model, len(order))
    series = sorted(timeline.series, key=lambda s: order[s.model])
    used = {s.model: colour(order[s.model]) for s in series}
    starts = [timeline.start_ms + i * timeline.bucket_ms for i in range(timeline.buckets)]
    labels = [bucket_label(at, timeline.bucket_ms) for at in starts]
    x_labels = [axis_label(at, chosen) for at in starts]
    plots = [
        plot(f"{title} {chosen.per}", _lines(series, used, field), labels, x_labels, count)
        for title, field in (
            ("Requests", "requests"),
            ("Prompt tokens", "prompt_tokens"),
            ("Output tokens", "output_tokens"),
        )
    ]
    return Activity(
        recorded.today,
        recorded.latency,
        recorded.errors,
        plots if series else [],
        _legend(used),
        _table(series, labels),
    )


def _lines(series: Sequence[Series], used: dict[str, str], field: str) -> list[Line]:
    return [Line(s.model, used[s.model], getattr(s, field)) for s in series]


def _legend(used: dict[str, str]) -> list[tuple[str, str]]:
    legend = [(name, shade) for name, shade in used.items() if shade != colour(COLOURS)]
    rest = len(used) - len(legend)
    return [*legend, (f"{rest} others", colour(COLOURS))] if rest else legend


def _table(series: Sequence[Series], labels: Sequence[str]) -> list[TableRow]:
    """Newest first, without the buckets in which nothing happened."""
    return [
        TableRow(labels[i], s.model, s.requests[i], s.prompt_tokens[i], s.output_tokens[i])
        for i in reversed(range(len(labels)))
        for s in series
        if s.requests[i]
    ]


def midnight_ms(now_ms: int) -> int:
    """The beginning of today, where this machine is."""
    today = datetime.fromtimestamp(now_ms / 1000).replace(hour=0, minute=0, second=0, microsecond=0)
    return int(today.timestamp() * 1000)


def span_start_ms(chosen: Range, now_ms: int) -> int:
    """The range ends with the bucket that now is in; buckets begin where local clocks are round."""
    since_midnight = now_ms - midnight_ms(now_ms)
    current = now_ms - since_midnight % chosen.bucket_ms
    return current - (chosen.buckets - 1) * chosen.bucket_ms


def bucket_label(start_ms: int, bucket_ms: int) -> str:
    """`14:05`, `14:00–14:30`, `Fri 21 Nov 12:00–15:00`."""
    start = datetime.fromtimestamp(start_ms / 1000)
    if bucket_ms == MINUTE_MS:
        return start.strftime("%H:%M")
    end = start + timedelta(milliseconds=bucket_ms)
    day = f"{start:%a} {start.day} {start:%b} " if bucket_ms > 60 * MINUTE_MS else ""
    return f"{day}{start:%H:%M}–{end:%H:%M}"


def axis_label(start_ms: int, chosen: Range) -> str:
    """The label under the axis where a round time begins, else ""."""
    start = datetime.fromtimestamp(start_ms / 1000)
    if chosen.key == "1h":
        return start.strftime("%H:%M") if start.minute % 15 == 0 else ""
    if chosen.key == "24h":
        return start.strftime("%H:%M") if start.hour % 6 == 0 and start.minute == 0 else ""
    if chosen.key == "7d":
        return start.strftime("%a") if start.hour < 3 else ""
    return f"{start.day} {start:%b}" if start.weekday() == 0 and start.hour < 12 else ""
