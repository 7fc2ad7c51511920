"""The cold tier over a disk that works: found again, bounded, oldest first."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from blobs import blob_of, bytes_on_disk, chain, is_right
from fastmlx.daemon.cold import layout
from fastmlx.daemon.cold.index import Index
from fastmlx.daemon.engine.kv.cold import sweep
from fastmlx.daemon.engine.kv.cold.file import encode
from fastmlx.daemon.engine.kv.cold.store import ColdStore
from fastmlx.daemon.engine.kv.hashes import BlockHash

MIB = 1 << 20


def write(store: ColdStore, blocks: list[BlockHash], *, first: int = 0, **kwargs) -> None:
    for i, block in enumerate(blocks):
        position = 4 * (first + i + 1)
        assert store.write(block, blob_of(block, position=position, **kwargs))
    assert store.flush(20)


def read(store: ColdStore, blocks: list[BlockHash]) -> list[BlockHash]:
    """The blocks that come back; each is checked."""
    ticket = store.read(blocks)
    assert ticket.wait(20)
    blobs = ticket.result()
    assert all(is_right(block, blob) for block, blob in zip(blocks, blobs, strict=False))
    return blocks[: len(blobs)]


def test_a_written_prefix_is_found_by_this_store_and_by_the_next(opened):
    blocks = chain("a", 10)
    store = opened()
    assert store.lookup(blocks) == 0
    write(store, blocks)
    assert store.lookup(blocks) == 10
    assert read(store, blocks) == blocks
    store.close()
    again = opened()
    assert again.lookup(chain("a", 12)) == 10
    assert read(again, chain("a", 12)) == blocks
    assert again.stats().bad_blocks == 0


def test_a_start_reads_no_block_that_the_index_knows(opened, directory: Path, monkeypatch):
    """However many there are. One folder of sixteen is listed, for what a crash has left there."""
    blocks = chain("a", 200)
    store = opened()
    write(store, blocks, size=64)
    store.close()
    seen: list[Path] = []
    real = sweep._entry
    monkeypatch.setattr(sweep, "_entry", lambda path, block: seen.append(path) or real(path, block))
    again = opened()
    assert again.lookup(blocks) == 200
    assert again.flush(20)
    again.close()
    assert not seen
    with monkeypatch.context() as lost:
        lost.setattr(layout, "FOLDERS", "a" * 16)
        extra = next(b for b in chain("b", 100) if b.hex()[0] == "a")
        path = layout.block_path(directory, extra)
        path.write_bytes(b"".join(encode(extra, blob_of(extra)).buffers))
        assert read(opened(), [extra]) == [extra]
    assert seen == [path]


def test_a_block_gets_its_name_when_its_bytes_are_durable(opened, directory: Path, monkeypatch):
    durable: set[int] = set()
    in_order: list[bool] = []
    fsync, rename = os.fsync, Path.rename

    def synced(file: int) -> None:
        durable.add(os.fstat(file).st_ino)
        fsync(file)

    def renamed(path: Path, target: Path) -> Path:
        in_order.append(path.stat().st_ino in durable)
        durable.discard(target.parent.stat().st_ino)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    blocks = chain("a", 5)
    write(opened(), blocks)
    assert in_order == [True] * 5
    folders = {layout.block_path(directory, block).parent for block in blocks}
    assert {folder.stat().st_ino for folder in folders} <= durable


def test_a_lookup_ends_at_the_first_gap(opened):
    blocks = chain("a", 6)
    store = opened()
    write(store, [blocks[0], blocks[1], blocks[3]])
    assert store.lookup(blocks) == 2
    assert store.lookup(blocks[2:]) == 0
    assert [size is not None for size in store.sizes(blocks)] == [1, 1, 0, 1, 0, 0]
    assert read(store, blocks) == blocks[:2]


def test_what_still_waits_to_be_written_is_found_as_well(opened, monkeypatch):
    from fastmlx.daemon.engine.kv.cold import writer

    held = threading.Event()
    real = writer.write_files
    monkeypatch.setattr(writer, "write_files", lambda *a: (held.wait(20), real(*a)))
    store = opened()
    blocks = chain("a", 3)
    for block in blocks:
        assert store.write(block, blob_of(block))
    assert store.lookup(blocks) == 3
    assert read(store, blocks) == blocks
    assert not store.flush(0.01)
    held.set()
    assert store.flush(20)
    assert store.lookup(blocks) == 3


def test_writing_again_what_is_stored_writes_nothing(opened):
    blocks = chain("a", 5)
    store = opened()
    write(store, blocks)
    written = store.stats().written_bytes
    write(store, blocks)
    other = opened()
    write(other, blocks)
    assert store.stats().written_bytes == written > 5 * 2048
    assert other.stats().written_bytes == 0
    assert store.stats().written_today_bytes == other.stats().written_today_bytes


def test_a_full_queue_drops_and_counts(opened, monkeypatch):
    from fastmlx.daemon.engine.kv.cold import writer

    held = threading.Event()
    real = writer.write_files
    monkeypatch.setattr(writer, "write_files", lambda *a: (held.wait(20), real(*a)))
    store = opened(queue_bytes=5 * 2048)
    blocks = chain("a", 8)
    taken = [store.write(block, blob_of(block)) for block in blocks]
    assert taken == [True] * 5 + [False] * 3
    assert store.stats().dropped_blocks == 3
    assert store.stats().queued_bytes == 5 * 2048
    held.set()
    assert store.flush(20)
    assert store.stats().queued_bytes == 0
    assert store.lookup(blocks) == 5


def test_the_oldest_go_first_and_the_ends_of_prefixes_before_their_beginnings(opened):
    now = [1_000_000.0]
    store = opened(limit_bytes=3 * MIB, clock=lambda: now[0])
    old, kept, new = chain("old", 8), chain("kept", 8), chain("new", 8)
    for blocks in (old, kept):
        write(store, blocks, size=80_000)
        now[0] += 100
    write(store, chain("more", 2), size=80_000)
    now[0] += 100
    assert read(store, old[:8]) == old  # used again: now `kept` is the oldest
    now[0] += 100
    write(store, new, size=80_000)
    assert store.lookup(new) == 8
    assert store.lookup(old) == 8
    left = store.lookup(kept)
    assert 0 < left < 8, "some had to go: from the end"
    assert [size is not None for size in store.sizes(kept)] == [i < left for i in range(8)]
    assert store.stats().evicted_blocks == 8 - left


def test_the_order_of_use_survives_a_restart(opened):
    now = [1_000_000.0]
    store = opened(limit_bytes=3 * MIB, clock=lambda: now[0])
    first, second = chain("first", 8), chain("second", 8)
    for blocks in (first, second):
        write(store, blocks, size=80_000)
        now[0] += 100
    store.touch(first)  # from memory, without reading it here
    store.close()
    now[0] += 100
    again = opened(limit_bytes=3 * MIB, clock=lambda: now[0])
    write(again, chain("third", 10), size=80_000)
    assert again.lookup(first) == 8
    assert again.lookup(second) < 8


@pytest.mark.parametrize("size", [100, 3000, 40_000])
def test_the_limit_holds_for_everything_on_the_disk(opened, directory: Path, size: int):
    limit = 3 * MIB
    now = [1_000_000.0]  # a chain within the milliseconds of another would be as old as it
    store = opened(limit_bytes=limit, clock=lambda: now[0])
    for n in range(4):
        write(store, chain(f"{n}", 40), size=size)
        now[0] += 100
        assert bytes_on_disk(directory) <= limit
        assert store.stats().directory_bytes <= limit
    assert store.stats().directory_bytes >= bytes_on_disk(directory)
    if size == 40_000:
        assert store.stats().evicted_blocks > 0
        assert store.lookup(chain("3", 40)) == 40


def test_a_smaller_limit_is_kept_from_the_start(opened, directory: Path):
    store = opened(limit_bytes=8 * MIB, clock=lambda: 1_000_000.0)
    write(store, chain("a", 100), size=50_000)
    store.close()
    again = opened(limit_bytes=3 * MIB)
    assert bytes_on_disk(directory) <= 3 * MIB
    assert 0 < again.lookup(chain("a", 100)) < 100


def test_a_block_that_is_larger_than_the_limit_costs_no_other(opened):
    store = opened(limit_bytes=3 * MIB)
    write(store, chain("a", 5))
    huge = chain("huge", 1)[0]
    store.write(huge, blob_of(huge, size=4 * MIB))
    assert store.flush(20)
    assert store.lookup([huge]) == 0
    assert store.lookup(chain("a", 5)) == 5
    assert store.stats().no_room_blocks == 1


def test_the_write_budget_of_a_day_holds_across_engines_and_restarts(opened):
    now = [20_000 * 86_400.0]
    options = {"budget": 100_000, "clock": lambda: now[0]}
    store = opened(**options)
    write(store, chain("a", 10), size=8192)
    first = store.stats()
    assert 0 < first.written_blocks < 10
    assert first.written_blocks + first.over_budget_blocks == 10
    other = opened(**options)
    write(other, chain("b", 3), size=8192)
    assert other.stats().over_budget_blocks == 3
    store.close()
    other.close()
    again = opened(**options)
    write(again, chain("c", 3), size=8192)
    assert again.stats().over_budget_blocks == 3
    now[0] += 86_400
    write(again, chain("d", 3), size=8192)
    assert again.stats().written_blocks == 3
    assert first.written_today_bytes <= 100_000


def test_clearing_one_model_leaves_the_others(opened, directory: Path):
    store, other = opened(), opened()
    write(store, chain("a", 300), model="one")
    write(other, chain("b", 5), model="two")
    store.clear("one")
    assert store.lookup(chain("a", 1)) == 0
    assert store.lookup(chain("b", 5)) == 5
    index = Index(directory, read_only=True)
    assert {name: total.blocks for name, total in index.totals(0).models.items()} == {"two": 5}
    index.close()
    store.clear()
    assert store.lookup(chain("b", 5)) == 0
    assert not list((directory / "blocks").rglob("*.safetensors"))
    write(store, chain("a", 3), model="one")
    assert read(store, chain("a", 3)) == chain("a", 3)


def test_a_done_ticket_says_so_and_calls(opened):
    store = opened()
    write(store, chain("a", 3))
    called = threading.Event()
    ticket = store.read(chain("a", 3), called.set)
    assert called.wait(20)
    assert ticket.done
    assert len(ticket.result()) == 3
    assert ticket.seconds > 0
    assert sum(store.stats().read_histogram) == store.stats().reads == 1


def test_a_callback_that_fails_leaves_the_reader_alive(opened):
    store = opened()
    write(store, chain("a", 3))
    assert store.read(chain("a", 3), lambda: 1 / 0).wait(20)
    assert read(store, chain("a", 3)) == chain("a", 3)


def test_a_cancelled_ticket_is_done_soon(opened):
    store = opened()
    write(store, chain("a", 3))
    waiting = threading.Event()
    first = store.read(chain("a", 1), lambda: waiting.wait(20) and None)
    second = store.read(chain("a", 3))
    second.cancel()
    waiting.set()
    assert first.wait(20)
    assert second.wait(20)
    assert second.result() == []
