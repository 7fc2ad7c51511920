"""Spans, labels and colours of the plots."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from fastmlx.admin.activity import RANGES, Range, Recorded, bucket_label, draw, span_start_ms
from fastmlx.daemon.store.latency import NOTHING
from fastmlx.daemon.store.rows import Latency, Series, Timeline, Totals
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(autouse=True, scope="module", params=["UTC", "Asia/Kathmandu", "America/New_York"])
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Clocks that differ from UTC by a whole number of hours, by 5:45, and with summer time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@given(st.integers(1_700_000_000_000, 1_900_000_000_000), st.sampled_from(list(RANGES.values())))
def test_now_is_in_the_last_bucket_and_buckets_are_whole_minutes(now_ms: int, span: Range) -> None:
    start = span_start_ms(span, now_ms)
    last = start + (span.buckets - 1) * span.bucket_ms
    assert last <= now_ms < last + span.bucket_ms
    assert start % 60_000 == 0


def test_buckets_begin_where_local_clocks_are_round() -> None:
    now = datetime(2026, 11, 18, 14, 47, 12).timestamp() * 1000
    for key, begin in (("1h", "14:47"), ("24h", "14:30"), ("7d", "12:00"), ("30d", "12:00")):
        span = RANGES[key]
        last = span_start_ms(span, int(now)) + (span.buckets - 1) * span.bucket_ms
        assert datetime.fromtimestamp(last / 1000).strftime("%H:%M") == begin


def test_labels_name_the_bucket() -> None:
    at = int(datetime(2026, 11, 18, 12, 0).timestamp() * 1000)
    labels = [bucket_label(at, RANGES[key].bucket_ms) for key in RANGES]
    whole = ["12:00", "12:00–12:30", "Wed 18 Nov 12:00–15:00", "Wed 18 Nov 12:00–00:00"]
    assert labels == whole


def series(*names: str) -> Recorded:
    buckets = RANGES["1h"].buckets
    ones = (1,) * buckets
    return Recorded(
        Totals(),
        Latency(NOTHING, NOTHING),
        [],
        Timeline(0, 60_000, buckets, tuple(Series(name, ones, ones, ones, ones) for name in names)),
    )


def test_a_model_has_the_colour_of_its_row_whoever_else_is_plotted() -> None:
    drawn = draw(series("c", "gone", "a"), RANGES["1h"], ["a", "b", "c"])
    assert drawn.legend == [("a", "m0"), ("c", "m2"), ("gone", "m3")]


def test_models_beyond_the_palette_are_others() -> None:
    names = [f"model{i:02d}" for i in range(12)]
    assert draw(series(*names), RANGES["1h"], names).legend[-1] == ("4 others", "m8")


def test_the_table_has_the_newest_first_and_no_empty_rows() -> None:
    table = draw(series("a", "b"), RANGES["1h"], ["a", "b"]).table
    assert len(table) == 120
    assert (table[0].label, table[0].model) == (bucket_label(59 * 60_000, 60_000), "a")
    assert draw(series(), RANGES["1h"], []).plots == []
