"""The cold tier when disk, index or files are not as they should be: slower, never wrong."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blobs import blob_of, bytes_on_disk, chain, is_right
from fastmlx.daemon.cold import layout
from fastmlx.daemon.engine.kv.cold import writer
from fastmlx.daemon.engine.kv.cold.store import ColdStore

MIB = 1 << 20


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer tries again after moments instead of minutes."""
    monkeypatch.setattr(writer, "RETRY_S", (0.02,))


def fill(store: ColdStore, name: str = "a", count: int = 4) -> None:
    for block in chain(name, count):
        assert store.write(block, blob_of(block))
    assert store.flush(20)
    assert store.lookup(chain(name, count)) == count


def got(store: ColdStore, name: str = "a", count: int = 4) -> int:
    """How many come back; each is checked."""
    blocks = chain(name, count)
    ticket = store.read(blocks)
    assert ticket.wait(20)
    assert all(is_right(b, blob) for b, blob in zip(blocks, ticket.result(), strict=False))
    return len(ticket.result())


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def torn(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def swapped(_: bytes) -> bytes:
    other = chain("b", 1)[0]
    from fastmlx.daemon.engine.kv.cold.file import encode

    return b"".join(encode(other, blob_of(other)).buffers)


@pytest.mark.parametrize("spoil", [torn, flipped, swapped, lambda _: b"", lambda _: b"foreign"])
def test_an_unfit_file_is_dropped_with_a_line_and_written_again(
    opened, directory: Path, spoil: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
):
    store = opened()
    fill(store)
    path = layout.block_path(directory, chain("a", 3)[2])
    path.write_bytes(spoil(path.read_bytes()))
    assert got(store) == 2
    assert len([r for r in caplog.records if str(path) in r.getMessage()]) == 1
    until(lambda: not path.exists())
    until(lambda: store.lookup(chain("a", 4)) == 2)
    assert store.stats().bad_blocks == 1
    fill(store)
    assert got(store) == 4


def test_a_deleted_file_is_a_miss_without_a_word(opened, directory: Path, caplog):
    store = opened()
    fill(store)
    layout.block_path(directory, chain("a", 1)[0]).unlink()
    assert got(store) == 0
    until(lambda: store.lookup(chain("a", 4)) == 0)
    assert not caplog.records
    fill(store)
    assert got(store) == 4


def test_a_full_disk_costs_the_blocks_and_one_line(opened, directory: Path, monkeypatch, caplog):
    store = opened()
    fill(store)
    real = os.writev

    def full(file: int, buffers: list[memoryview]) -> int:
        real(file, [buffers[0][:100]])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    blocks = chain("b", 3)
    for block in blocks:
        store.write(block, blob_of(block))
    assert store.flush(20)
    until(lambda: store.stats().problem)
    for _ in range(3):
        store.write(blocks[0], blob_of(blocks[0]))
        time.sleep(0.05)
    assert got(store) == 4, "what is stored can still be read"
    assert store.lookup(blocks) == 0
    assert not list(directory.rglob("*.tmp"))
    lost = store.stats()
    assert lost.failed_blocks + lost.dropped_blocks >= 4
    monkeypatch.undo()
    until(lambda: not store.stats().problem)
    fill(store, "b", 3)
    assert got(store, "b", 3) == 3
    off, on = (r.getMessage() for r in caplog.records)
    assert "No space left" in off
    assert "works again" in on


def test_a_nearly_full_disk_is_not_filled_up(opened, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1000, 1000, 0))  # pyright: ignore
    store = opened()
    for block in chain("a", 3):
        store.write(block, blob_of(block))
    assert store.flush(20)
    assert store.lookup(chain("a", 1)) == 0
    assert store.stats().no_room_blocks == 3


def test_a_directory_that_vanished_is_made_again(opened, directory: Path):
    store = opened()
    fill(store)
    shutil.rmtree(directory)
    assert store.lookup(chain("a", 4)) == 0
    assert got(store) == 0
    fill(store, "b")
    assert got(store, "b") == 4


def test_a_directory_that_cannot_be_made_turns_the_tier_off_until_it_can(
    opened, directory: Path, caplog
):
    directory.write_text("a file where the folder should be")
    store = opened()
    block = chain("a", 1)[0]
    store.write(block, blob_of(block))
    assert store.flush(20)
    assert store.lookup([block]) == 0
    assert got(store, "a", 1) == 0
    assert str(directory) in (store.stats().problem or "")
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    directory.unlink()
    until(lambda: not store.stats().problem)
    fill(store)
    assert got(store) == 4


def test_a_read_only_directory_is_no_error(opened, directory: Path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    directory.mkdir()
    directory.chmod(0o500)
    try:
        store = opened()
        store.write(chain("a", 1)[0], blob_of(chain("a", 1)[0]))
        assert store.flush(20)
        assert store.lookup(chain("a", 1)) == 0
    finally:
        directory.chmod(0o700)


@pytest.mark.parametrize("spoil", ["garbage", "lost", "other version", "half"])
def test_a_lost_index_is_built_again_from_the_blocks(
    opened, directory: Path, spoil: str, monkeypatch
):
    store = opened()
    fill(store, "a", 40)
    store.close()
    index = directory / "index.sqlite"
    match spoil:
        case "garbage":
            index.write_bytes(os.urandom(8192))
        case "half":
            index.write_bytes(index.read_bytes()[: index.stat().st_size // 2])
        case "lost":
            index.unlink()
        case _:
            with sqlite3.connect(index) as connection:
                connection.execute("PRAGMA user_version = 99")
            connection.close()
    unfit = layout.block_path(directory, chain("a", 40)[39])
    unfit.write_bytes(b"torn")
    half = layout.temporary_path(directory, chain("b", 1)[0])
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    os.utime(half, (0, 0))
    foreign = unfit.parent / "notes.txt"
    foreign.write_text("not ours")
    again = opened()
    until(lambda: again.lookup(chain("a", 40)) == 39)
    assert got(again, "a", 40) == 39
    assert not unfit.exists()
    assert not half.exists()
    assert foreign.exists()
    assert again.stats().directory_blocks == 39
    assert again.stats().directory_bytes >= bytes_on_disk(directory) - 4096


def test_an_index_that_breaks_while_it_is_open_is_replaced(opened, directory: Path):
    store = opened()
    fill(store, "a", 200)
    for suffix in ("", "-wal"):
        path = directory / f"index.sqlite{suffix}"
        if path.exists():
            with path.open("r+b") as file:
                file.write(b"\xff" * path.stat().st_size)
    for block in chain("b", 30):
        store.write(block, blob_of(block))
    store.flush(20)
    until(lambda: not store.stats().problem)
    fill(store, "c")
    assert got(store, "c") == 4


def test_a_writer_that_died_gives_its_places_back(opened, directory: Path, monkeypatch):
    now = [1_000_000.0]
    real = writer.write_files
    monkeypatch.setattr(writer, "write_files", lambda *a: real(*a) or os.kill(0, 0) or 1 / 0)
    monkeypatch.setattr("fastmlx.daemon.cold.index.Index.abandon", lambda *a: None)
    dead = opened(clock=lambda: now[0])
    for block in chain("a", 3):
        dead.write(block, blob_of(block))
    assert dead.flush(20)
    dead.close()
    monkeypatch.undo()
    store = opened(clock=lambda: now[0])
    assert store.lookup(chain("a", 3)) == 0, "files without a word that they are complete"
    fill(store, "b")
    now[0] += 700
    store.close()
    again = opened(clock=lambda: now[0])
    assert not layout.block_path(directory, chain("a", 1)[0]).exists()
    fill(again)
    assert got(again) == 4
    assert got(again, "b") == 4
