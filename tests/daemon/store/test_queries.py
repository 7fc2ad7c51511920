"""Questions about the recorded requests, checked against plain Python over the same rows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from fastmlx.daemon.store import queries
from fastmlx.daemon.store.database import Database
from fastmlx.daemon.store.latency import NOTHING
from fastmlx.daemon.store.rows import Filters, Latency, Mark, Page, Percentiles, Totals, UsageRow
from fastmlx.daemon.store.store import Store
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, text

from .conftest import MakeRow

MINUTE = 60_000

usage_rows = st.builds(
    UsageRow,
    at_ms=st.integers(0, 100 * MINUTE),
    request_id=st.just("r"),
    model=st.sampled_from(["demo", "qwen/3", "mädchen", "'; DROP TABLE usage"]),
    dialect=st.just("openai_chat"),
    key=st.none() | st.sampled_from(["phone", "böse '"]),
    prompt_tokens=st.integers(0, 10_000),
    cached_tokens=st.integers(0, 10_000),
    output_tokens=st.integers(0, 10_000),
    ttft_ms=st.none() | st.floats(0, 1e6),
    error=st.none() | st.just("boom"),
)


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(usage_rows, max_size=60))
def test_what_each_key_used_agrees_with_the_rows(
    tmp_path_factory: pytest.TempPathFactory, rows: list[UsageRow]
) -> None:
    database = Database(tmp_path_factory.mktemp("store") / "fastmlx.db")
    for half in (rows[::2], rows[1::2]):
        if half:
            database.write(half)
    quarter = queries.QUARTER_MS
    starts = [0, quarter, 4 * quarter, 100 * quarter]
    with database.connect() as connection:
        found = queries.used(connection, starts)
    database.close()

    expected: dict[tuple[int, str, str], Totals] = {}
    for row in rows:
        start = max(each for each in starts if each <= row.at_ms)
        place = (start, row.model, row.key or "")
        one = (1, row.error is not None, row.prompt_tokens, row.cached_tokens, row.output_tokens)
        before = expected.get(place, Totals())
        expected[place] = Totals(*(a + b for a, b in zip(before, one, strict=True)))
    assert {each[:3]: each.totals for each in found} == expected


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(usage_rows, max_size=60),
    start=st.integers(0, 50),
    width=st.integers(1, 20),
    buckets=st.integers(1, 30),
)
def test_sums_and_timelines_agree_with_the_rows(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[UsageRow],
    start: int,
    width: int,
    buckets: int,
) -> None:
    database = Database(tmp_path_factory.mktemp("store") / "fastmlx.db")
    for half in (rows[::2], rows[1::2]):  # two transactions: sums are added to sums
        if half:
            database.write(half)
    start_ms, bucket_ms = start * MINUTE, width * MINUTE
    with database.connect() as connection:
        totals = queries.totals(connection, start_ms)
        timeline = queries.timeline(connection, start_ms, bucket_ms, buckets)
    database.close()

    since = [row for row in rows if row.at_ms >= start_ms]
    assert totals == Totals(
        len(since),
        sum(row.error is not None for row in since),
        sum(row.prompt_tokens for row in since),
        sum(row.cached_tokens for row in since),
        sum(row.output_tokens for row in since),
    )
    inside = [row for row in since if row.at_ms < start_ms + bucket_ms * buckets]
    assert [series.model for series in timeline.series] == sorted({row.model for row in inside})
    for series in timeline.series:
        for index in range(buckets):
            bucket = [
                row
                for row in inside
                if row.model == series.model and (row.at_ms - start_ms) // bucket_ms == index
            ]
            assert series.requests[index] == len(bucket)
            assert series.prompt_tokens[index] == sum(row.prompt_tokens for row in bucket)
            assert series.output_tokens[index] == sum(row.output_tokens for row in bucket)


async def test_an_empty_database_answers_with_zeros(store: Store) -> None:
    store.flush()
    assert await store.read(queries.totals, 0) == Totals()
    assert (await store.read(queries.timeline, 0, MINUTE, 60)).series == ()
    for query in (queries.latency_now, queries.latency_of_hours):
        assert await store.read(query, 0) == Latency(NOTHING, NOTHING)
    assert await store.read(queries.seen, "model") == []
    assert await store.read(queries.recent, 10) == Page([], None)
    assert await store.read(queries.errors, 10) == []


async def test_percentiles_of_the_last_hour_are_times_that_were_measured(
    store: Store, row: MakeRow
) -> None:
    now = int(time.time() * 1000)
    for number in range(1, 101):
        times: dict[str, Any] = {
            "ttft_ms": float(number),
            "duration_ms": 3.0 * number,
            "output_tokens": 3,
        }
        store.record(row(at_ms=now + number, **times))
    store.record(row(at_ms=now + 200))  # failed before its first token: not a measurement
    store.flush()
    everything = Percentiles(50.0, 95.0, 99.0, 100)
    assert await store.read(queries.latency_now, now) == Latency(everything, everything)
    newest = await store.read(queries.latency_now, now, newest=10)
    assert newest.ttft == Percentiles(95.0, 100.0, 100.0, 10)
    assert (await store.read(queries.latency_now, now + 100)).itl.samples == 1


@settings(max_examples=25, deadline=None)
@given(times=st.lists(st.floats(0.02, 1e6), min_size=1, max_size=80), cut=st.integers(0, 80))
def test_percentiles_of_days_are_near_the_times_that_were_measured(
    tmp_path_factory: pytest.TempPathFactory, times: list[float], cut: int
) -> None:
    database = Database(tmp_path_factory.mktemp("store") / "fastmlx.db")
    rows = [
        UsageRow(at_ms=i, request_id="r", model="m", dialect="d", ttft_ms=ms, output_tokens=1)
        for i, ms in enumerate(times)
    ]
    for half in (rows[:cut], rows[cut:]):  # counts are added to counts
        if half:
            database.write(half)
    with database.connect() as connection:
        exact = queries.latency_now(connection, 0).ttft
        near = queries.latency_of_hours(connection, 0).ttft
        later = queries.latency_of_hours(connection, 3_600_000)
    database.close()
    assert near.samples == exact.samples == len(times)
    for ours, theirs in zip(near[:3], exact[:3], strict=True):
        assert ours is not None and theirs is not None
        assert abs(ours / theirs - 1) < 0.045
    assert later == Latency(NOTHING, NOTHING)


async def test_the_log_is_filtered_by_what_is_asked_for(store: Store, row: MakeRow) -> None:
    rows = [
        row(at_ms=1, request_id="chatcmpl-1", model="a", key="laptop", finish_reason="stop"),
        row(at_ms=2, request_id="chatcmpl-2", model="b", dialect="ollama", error="x: y"),
        row(at_ms=3, request_id="resp_3%", model="a", finish_reason="cancelled"),
        row(at_ms=4, request_id="chatcmpl-4", model="a", finish_reason="length"),
    ]
    for each in rows:
        store.record(each)
    store.flush()

    async def found(**filters: Any) -> list[int]:
        page = await store.read(queries.recent, 9, None, Filters(**filters))
        return [each.at_ms for each in page.rows]

    assert await found(model="a") == [4, 3, 1]
    assert await found(model="a", status="ok") == [4, 1]
    assert await found(status="cancelled") == [3]
    assert await found(status="error") == await found(dialect="ollama") == [2]
    assert await found(key="laptop") == [1]
    assert await found(id="chatcmpl-") == [4, 2, 1]
    assert await found(id="resp_3%") == [3]
    assert await found(id="%") == []
    assert await found(since_ms=2, until_ms=4) == [3, 2]
    assert await store.read(queries.seen, "model") == ["a", "b"]
    assert await store.read(queries.seen, "key") == ["laptop"]
    assert await store.read(queries.request, "resp_3%") == [rows[2]]


async def test_errors_and_pages_of_requests_come_newest_first(store: Store, row: MakeRow) -> None:
    for number in range(20):
        store.record(row(at_ms=number, error="boom" if number % 5 == 0 else None))
    store.flush()
    assert [r.at_ms for r in await store.read(queries.errors, 3)] == [15, 10, 5]
    assert [r.at_ms for r in await store.read(queries.errors, 9, since_ms=10)] == [15, 10]
    seen: list[int] = []
    mark: Mark | None = None
    for _ in range(3):
        page = await store.read(queries.recent, 8, mark)
        seen += [r.at_ms for r in page.rows]
        mark = page.older
    assert seen == list(range(19, -1, -1))
    assert mark is None


def test_a_bucket_that_cuts_a_minute_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="whole minutes"),
        create_engine("sqlite://").connect() as c,
    ):
        queries.timeline(c, 0, 90_000, 3)


def test_no_question_walks_the_whole_table(path: Path) -> None:
    database = Database(path)
    plans: list[str] = []

    class Explaining:
        """Answers with the plan instead of the rows."""

        def __init__(self, connection: Connection) -> None:
            self._connection = connection

        def _explain(self, query):
            compiled = query.compile(
                self._connection.engine, compile_kwargs={"literal_binds": True}
            )
            rows = self._connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}"))
            plans.extend(row[3] for row in rows)
            return self._connection.execute(query)

        execute = _explain

        def scalar(self, query):
            return self._explain(query).scalar()

    with database.connect() as connection:
        explaining: Connection = Explaining(connection)  # type: ignore[assignment]
        queries.totals(explaining, 5 * MINUTE)
        queries.timeline(explaining, 0, MINUTE, 60)
        queries.latency_now(explaining, 5 * MINUTE)
        queries.latency_of_hours(explaining, 5 * MINUTE)
        queries.request(explaining, "r")
        queries.seen(explaining, "model")
        for filters in (Filters(), Filters(model="m"), Filters(status="error"), Filters(id="r")):
            queries.recent(explaining, 10, None, filters)
            queries.recent(explaining, 10, Mark(5 * MINUTE, 99), filters)
        queries.errors(explaining, 10)
    database.close()
    walks = [plan for plan in plans if plan.startswith("SCAN") and "USING" not in plan]
    assert plans and not walks, plans
