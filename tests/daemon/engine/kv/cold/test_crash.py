"""kill -9 at any instant, and two engines in one directory: nothing wrong, nothing leaks."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import cold_writer
import pytest
from blobs import bytes_on_disk, chain, is_right
from fastmlx.daemon.cold import layout
from fastmlx.daemon.engine.kv.cold.store import ColdStore

MIB = 1 << 20


class Child:
    """A writing process; `rounds` is how many of its rounds are known to be on disk."""

    def __init__(self, directory: Path, name: str, limit_bytes: int) -> None:
        self.rounds = 0
        self.process = subprocess.Popen(
            [sys.executable, cold_writer.__file__, str(directory), name, str(limit_bytes)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.rounds = int(line) + 1

    def kill(self) -> None:
        """Raises AssertionError when it had ended before, by itself."""
        ended = self.process.poll()
        self.process.kill()
        self.process.wait()
        self._thread.join()
        if self.process.stdout:
            self.process.stdout.close()
        assert ended is None


def check(store: ColdStore, name: str, rounds: int) -> int:
    """How many of the blocks are there; each is checked."""
    count = 0
    for number in range(rounds):
        blocks = chain(f"{name}{number}", cold_writer.BLOCKS)
        ticket = store.read(blocks)
        assert ticket.wait(20)
        assert all(is_right(b, blob) for b, blob in zip(blocks, ticket.result(), strict=False))
        count += len(ticket.result())
    return count


@pytest.mark.slow
def test_kill_at_any_instant_loses_nothing_that_was_written_and_leaks_nothing(directory: Path):
    """The instants come from a fixed seed; what the killed process does at them does not, and
    need not: the assertions hold for every instant."""
    instants = random.Random(4)
    now = [time.time()]
    for kill in range(8):
        child = Child(directory, f"{kill}-", 64 * MIB)
        time.sleep(instants.uniform(0, 0.15))
        child.kill()
        store = ColdStore(directory, 64 * MIB, open_timeout_s=20, clock=lambda: now[0])
        assert check(store, f"{kill}-", child.rounds + 1) >= child.rounds * cold_writer.BLOCKS
        assert store.stats().bad_blocks == 0
        store.close()
    now[0] += 700  # then what was being written belongs to nobody
    store = ColdStore(directory, 64 * MIB, open_timeout_s=20, clock=lambda: now[0])
    assert store.flush(20)
    store.close()
    files = [path.name for path in (directory / "blocks").rglob("*.*")]
    assert not [name for name in files if name.endswith(layout.TEMPORARY)]
    assert len(files) == store.stats().directory_blocks


@pytest.mark.slow
def test_two_engines_write_and_evict_in_one_directory(directory: Path):
    limit = 4 * MIB
    children = [Child(directory, name, limit) for name in ("a", "b")]
    most = 0
    deadline = time.monotonic() + 60
    while min(child.rounds for child in children) < 20 and time.monotonic() < deadline:
        most = max(most, bytes_on_disk(directory))
        time.sleep(0.02)
    for child in children:
        child.kill()
    assert min(child.rounds for child in children) >= 20
    assert limit // 2 < most <= limit
    store = ColdStore(directory, limit, open_timeout_s=20)
    found = [check(store, name, child.rounds) for name, child in zip("ab", children, strict=True)]
    assert store.stats().bad_blocks == 0
    assert 20 < sum(found) <= store.stats().directory_blocks
    store.close()
