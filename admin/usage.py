"""What was used in days, weeks and months: spans, plots, tables, CSV. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from ..daemon.store.rows import Totals, Used
from .model_row import colour
from .numbers import count
from .plot import Line, Plot, plot


class Period(NamedTuple):
    """How far back, and in which steps."""

    key: str  # in the address
    label: str
    words: str
    per: str  # "per day"
    unit: str  # "day", "week" or "month"
    units: int


PERIODS = {
    found.key: found
    for found in (
        Period("7d", "7 days", "last 7 days", "per day", "day", 7),
        Period("30d", "30 days", "last 30 days", "per day", "day", 30),
        Period("12w", "12 weeks", "last 12 weeks", "per week", "week", 12),
        Period("12m", "12 months", "last 12 months", "per month", "month", 12),
    )
}
DEFAULT_PERIOD = "30d"
BY = ("model", "key")
NO_KEY = "without a key"


class Row(NamedTuple):
    name: str
    totals: Totals
    share: float  # of all tokens


class SpanRow(NamedTuple):
    label: str
    name: str
    totals: Totals


class Usage(NamedTuple):
    totals: Totals
    plots: list[Plot]  # empty when nothing was used
    legend: list[tuple[str, str]]
    rows: list[Row]  # of each model or key, the largest first
    spans: list[SpanRow]  # of each in each span, the newest first


def starts(period: Period, now: datetime) -> list[datetime]:
    """Beginnings of the spans, the one that now is in last, and then its end: local midnights."""
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period.unit == "month":
        months = [today.year * 12 + today.month - 1 - back for back in range(period.units)]
        return [_month(number) for number in (*reversed(months), months[0] + 1)]
    step = 7 if period.unit == "week" else 1
    first = today - timedelta(days=today.weekday() if period.unit == "week" else 0)
    # Naive dates: a day of 23 or 25 hours is a day.
    return [first + timedelta(days=step * i) for i in range(1 - period.units, 2)]


def days(period: Period, now: datetime) -> list[datetime]:
    """The same time, day by day."""
    whole = starts(period, now)
    number = (whole[-1] - whole[0]).days
    return [whole[0] + timedelta(days=i) for i in range(number + 1)]


def _month(number: int) -> datetime:
    return datetime(number // 12, number % 12 + 1, 1)


def milliseconds_of(moments: Sequence[datetime]) -> list[int]:
    return [int(each.timestamp() * 1000) for each in moments]


def draw(
    used: Sequence[Used],
    period: Period,
    begins: Sequence[datetime],
    by: str,
    order: Sequence[str],
) -> Usage:
    """`used` in the spans that `begins` (with its end) are the beginnings of; `order`: names whose
    colours are given, the others come after them."""
    place = {at_ms: i for i, at_ms in enumerate(milliseconds_of(begins[:-1]))}
    sums: dict[str, list[Totals]] = {}
    for each in used:
        name = each.model if by == "model" else each.key or NO_KEY
        row = sums.setdefault(name, [Totals()] * len(place))
        row[place[each.start_ms]] = _plus(row[place[each.start_ms]], each.totals)
    colours = {name: i for i, name in enumerate(order)}
    for name in sorted(sums):
        colours.setdefault(name, len(colours))
    names = sorted(sums, key=lambda name: colours[name])
    whole = {name: _sum(sums[name]) for name in names}
    everything = _sum(list(whole.values()))
    tokens = everything.prompt_tokens + everything.output_tokens
    labels = [_label(at, period) for at in begins[:-1]]
    rows = [
        Row(name, total, (total.prompt_tokens + total.output_tokens) / tokens if tokens else 0.0)
        for name, total in whole.items()
    ]
    return Usage(
        everything,
        _plots(sums, names, colours, labels, begins, period) if names else [],
        [(name, colour(colours[name])) for name in names],
        sorted(rows, key=lambda row: row.share, reverse=True),
        [
            SpanRow(labels[i], name, sums[name][i])
            for i in reversed(range(len(labels)))
            for name in names
            if sums[name][i].requests
        ],
    )


def _plots(
    sums: dict[str, list[Totals]],
    names: Sequence[str],
    colours: dict[str, int],
    labels: Sequence[str],
    begins: Sequence[datetime],
    period: Period,
) -> list[Plot]:
    x_labels = [_axis_label(at, i, period) for i, at in enumerate(begins[:-1])]
    return [
        plot(
            f"{title} {period.per}",
            [
                Line(name, colour(colours[name]), [getattr(each, field) for each in sums[name]])
                for name in names
            ],
            labels,
            x_labels,
            count,
        )
        for title, field in (
            ("Requests", "requests"),
            ("Prompt tokens", "prompt_tokens"),
            ("Output tokens", "output_tokens"),
        )
    ]


def table(used: Sequence[Used]) -> str:
    """As CSV: one line a day, model and key."""
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(["day", "model", "key", *Totals._fields])
    for each in used:
        day = datetime.fromtimestamp(each.start_ms / 1000).strftime("%Y-%m-%d")
        lines.writerow([day, _harmless(each.model), _harmless(each.key), *each.totals])
    return out.getvalue()


def _harmless(text: str) -> str:
    """A spreadsheet would take a name that begins so for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _plus(one: Totals, other: Totals) -> Totals:
    return Totals(*map(sum, zip(one, other, strict=True)))


def _sum(all_of_them: Sequence[Totals]) -> Totals:
    total = Totals()
    for each in all_of_them:
        total = _plus(total, each)
    return total


def _label(at: datetime, period: Period) -> str:
    if period.unit == "month":
        return f"{at:%B %Y}"
    day = f"{at:%a} {at.day} {at:%b}"
    return f"week of {day}" if period.unit == "week" else day


def _axis_label(at: datetime, place: int, period: Period) -> str:
    if period.unit == "month":
        return f"{at:%b}" if place % 2 else ""
    if period.units <= 7:
        return f"{at:%a}"
    wanted = at.weekday() == 0 if period.unit == "day" else place % 3 == 0
    return f"{at.day} {at:%b}" if wanted else ""
