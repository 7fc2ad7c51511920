"""Whatever happens to the file, `record` returns at once and recording goes on afterwards."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmlx.daemon.store import queries
from fastmlx.daemon.store.database import StoreUnavailable
from fastmlx.daemon.store.store import Store

from .conftest import MakeRow


def wait_until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def count(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT count(*) FROM usage").fetchone()[0]
    finally:
        connection.close()


def test_rows_wait_while_another_program_locks_the_file(
    store: Store, path: Path, row: MakeRow
) -> None:
    assert store.flush()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    started = time.perf_counter()
    for _ in range(10):
        store.record(row())
    assert time.perf_counter() - started < 0.1
    wait_until(lambda: store.problem)
    assert store.problem is not None and "locked" in store.problem
    other.execute("COMMIT")
    other.close()
    assert store.flush(15)
    wait_until(lambda: store.problem is None)
    assert (store.written, store.dropped, count(path)) == (10, 0, 10)


def test_more_rows_than_memory_may_hold_are_dropped_and_counted(path: Path, row: MakeRow) -> None:
    store = Store.open(path, capacity=50)
    assert store.flush()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for _ in range(500):
        store.record(row())
    assert store.dropped >= 400
    other.execute("COMMIT")
    other.close()
    assert store.flush(15)
    store.close()
    assert store.written + store.dropped == 500
    assert count(path) == store.written > 0


def test_close_does_not_wait_for_a_lock_that_stays(path: Path, row: MakeRow) -> None:
    store = Store.open(path)
    assert store.flush()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store.record(row())
    started = time.perf_counter()
    store.close(timeout_s=5.0)
    assert time.perf_counter() - started < 4.0
    assert store.dropped == 1
    other.close()


DISK_FULL = """
import resource, signal, sys, time
from pathlib import Path
from fastmlx.daemon.store.rows import UsageRow
from fastmlx.daemon.store.store import Store

def rows(count):
    for number in range(count):
        store.record(UsageRow(at_ms=number, request_id="r" * 400, model="m", dialect="d"))

store = Store.open(Path(sys.argv[1]))
assert store.flush()
rows(10)
assert store.flush()
# No file may grow any more, whoever runs this: what a full disk looks like to SQLite.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
rows(2_000)
deadline = time.monotonic() + 10
while store.problem is None and time.monotonic() < deadline:
    time.sleep(0.02)
problem = store.problem
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert store.flush(20)
store.close()
print(problem)
print(store.written, store.dropped)
"""


def test_a_full_disk_costs_nothing_once_there_is_room_again(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    problem, books = done.stdout.splitlines()
    assert "not recorded" in problem
    assert books == "2010 0"
    assert count(path) == 2010


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path: Path, row: MakeRow) -> None:
    # A plain file where the folder should be: unwritable for root as well.
    folder = tmp_path / "home"
    folder.write_text("in the way")
    store = Store.open(folder / "fastmlx.db")
    store.record(row())
    wait_until(lambda: store.problem)
    folder.unlink()
    assert store.flush(15)
    store.close()
    assert (store.written, store.dropped) == (1, 0)


async def test_readers_are_told_why_there_is_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    store = Store.open(tmp_path / "home" / "fastmlx.db")
    wait_until(lambda: store.problem)
    with pytest.raises(StoreUnavailable, match="not recorded"):
        await store.read(queries.totals, 0)
    store.close()


@pytest.mark.parametrize(
    "content", [b"not a database, " * 1000, b"SQLite format 3\0" + b"x" * 9999]
)
def test_a_damaged_file_is_moved_aside_and_a_fresh_one_begun(
    path: Path, row: MakeRow, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    store = Store.open(path)
    store.record(row())
    assert store.flush()
    store.close()
    assert count(path) == 1
    (aside,) = (p for p in path.parent.glob("fastmlx.db.damaged-*"))
    assert aside.read_bytes() == content
    assert "is damaged: moved to" in caplog.text


def test_damage_found_while_running_is_moved_aside_too(path: Path, row: MakeRow) -> None:
    store = Store.open(path)
    for _ in range(3000):
        store.record(row())
    assert store.flush(15)
    store.close()
    # Everything behind the first pages becomes noise: opening works, writing meets the damage.
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\x5a" * (size - 3 * 4096))
    store = Store.open(path)
    for _ in range(3):
        store.record(row())
    assert store.flush(15)
    store.close()
    assert (store.written, store.dropped, count(path)) == (3, 0, 3)
    assert list(path.parent.glob("fastmlx.db.damaged-*"))


async def test_a_deleted_file_is_made_anew(store: Store, path: Path, row: MakeRow) -> None:
    store.record(row())
    assert store.flush()
    for part in path.parent.glob("fastmlx.db*"):
        part.unlink()
    store.record(row())
    wait_until(lambda: store.written == 2)
    assert len((await store.read(queries.recent, 5)).rows) == 1
    assert count(path) == 1


async def test_a_database_of_a_newer_fastmlx_is_left_alone(path: Path, row: MakeRow) -> None:
    Store.open(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    store = Store.open(path)
    store.record(row())
    wait_until(lambda: store.problem)
    assert store.problem is not None
    assert "newer fastmlx (schema 9999" in store.problem
    with pytest.raises(StoreUnavailable, match="update fastmlx"):
        await store.read(queries.totals, 0)
    store.close()
    assert store.dropped == 1
    assert connection.execute("SELECT count(*) FROM usage").fetchone() == (0,)
    assert not list(path.parent.glob("*.damaged-*"))
    connection.close()
