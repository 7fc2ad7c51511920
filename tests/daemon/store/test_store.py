"""Recording and reading, on a real file."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from fastmlx.daemon.store import queries
from fastmlx.daemon.store.rows import Page, UsageRow
from fastmlx.daemon.store.store import Store
from sqlalchemy import Connection, text

from .conftest import MakeRow


async def test_what_is_recorded_can_be_read_back(store: Store, row: MakeRow) -> None:
    full = row(
        key="laptop",
        client="127.0.0.1",
        prompt_tokens=120,
        cached_tokens=64,
        output_tokens=30,
        reasoning_tokens=10,
        queue_ms=1.5,
        ttft_ms=80.25,
        duration_ms=900.5,
        finish_reason="stop",
        stream=True,
    )
    failed = row(error="engine_died: it died twice", at_ms=full.at_ms + 1)
    store.record(full)
    store.record(failed)
    assert store.flush()
    assert await store.read(queries.recent, 10) == Page([failed, full], None)
    assert store.written == 2
    assert store.dropped == 0
    assert store.problem is None


async def test_rows_survive_a_restart_of_the_daemon(path: Path, row: MakeRow) -> None:
    first = Store.open(path)
    first.record(row())
    first.close()
    second = Store.open(path)
    assert second.flush()
    assert len((await second.read(queries.recent, 10)).rows) == 1
    second.close()


def test_close_writes_what_is_still_queued(path: Path, row: MakeRow) -> None:
    store = Store.open(path)
    for _ in range(2500):
        store.record(row())
    store.close()
    assert (store.written, store.dropped) == (2500, 0)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM usage").fetchone() == (2500,)
    connection.close()


def test_a_row_after_close_is_counted_not_raised(store: Store, row: MakeRow) -> None:
    store.close()
    store.record(row())
    store.close()
    assert store.dropped == 1


def test_recording_ten_thousand_rows_takes_the_caller_microseconds_each(
    store: Store, row: MakeRow
) -> None:
    rows = [row() for _ in range(10_000)]
    started = time.perf_counter()
    for each in rows:
        store.record(each)
    # 2 µs each when nothing else runs; the bound only tells queueing from writing to disk.
    assert time.perf_counter() - started < 1.0
    assert store.flush(30)
    assert store.written + store.dropped == 10_000


async def test_reading_and_writing_go_on_at_once(store: Store, row: MakeRow) -> None:
    assert store.flush()

    async def read() -> int:
        return len((await store.read(queries.recent, 50)).rows)

    for _ in range(20):
        for _ in range(100):
            store.record(row())
        assert all(count <= 50 for count in await asyncio.gather(*(read() for _ in range(4))))
    assert await asyncio.to_thread(store.flush, 30)
    assert store.written == 2000


async def test_a_reader_cannot_write(store: Store) -> None:
    def vandal(connection: Connection) -> None:
        connection.execute(text("DELETE FROM usage"))

    store.flush()
    with pytest.raises(Exception, match="readonly"):
        await store.read(vandal)


async def test_a_row_that_cannot_be_stored_does_not_hold_up_the_others(
    store: Store, row: MakeRow
) -> None:
    for fields in ({}, {"output_tokens": 2**70}, {"model": None}, {}, {"at_ms": "soon"}, {}):
        store.record(row(**fields))
    assert store.flush()
    assert (store.written, store.dropped) == (3, 3)
    assert (await store.read(queries.totals, 0)).requests == 3


async def test_what_utf_8_cannot_hold_and_endless_texts_are_tamed(
    store: Store, row: MakeRow
) -> None:
    store.record(row(client="\ud800 agent", error="e" * 100_000))
    assert store.flush()
    (found,) = (await store.read(queries.recent, 1)).rows
    assert found.client == "? agent"
    assert found.error is not None and len(found.error) == 500


def test_the_database_has_no_place_for_texts_of_prompts() -> None:
    # A new column is a decision about privacy: whoever adds one changes this list too.
    assert set(UsageRow.__struct_fields__) == {
        *("at_ms", "request_id", "model", "dialect", "key", "client"),
        *("prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"),
        *("queue_ms", "ttft_ms", "duration_ms", "finish_reason", "error", "stream"),
        *("load_ms", "sampling"),
    }
