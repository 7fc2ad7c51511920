"""What does the tier on disk cost? Streams while it is written, and a start with 100,000 blocks.

Streams: clients that ask prompt after prompt, of which nothing is known, with memory for few of
them, so that all that was computed leaves for the disk while others decode; beside them the same
engine without a tier on disk. Start: the store opened over an index of so many blocks, beside one
over an empty directory, each in a process of its own.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import hashlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import engine
import models
from fastmlx.daemon.cold import layout
from fastmlx.daemon.cold.index import Entry, Index
from fastmlx.daemon.engine.core import EngineCore
from fastmlx.daemon.engine.prefixes import build, salts_of
from fastmlx.daemon.engine.runners.text import TextRunner
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate, Load
from report import Report, arguments

START = """
import sys, time
from pathlib import Path
import psutil
from fastmlx.daemon.engine.kv.cold.store import ColdStore
from fastmlx.daemon.engine.kv.hashes import block_hashes
begin = time.perf_counter()
store = ColdStore(Path(sys.argv[1]), 1 << 50, open_timeout_s=60)
store.lookup(block_hashes(b"salt", list(range(60_000)), 128))
seconds = time.perf_counter() - begin
print(seconds, psutil.Process().memory_info().rss)
store.close()
"""


class Size(NamedTuple):
    clients: int
    prompts: int  # of each
    prompt: int  # tokens
    answer: int
    blocks: int
    rounds: int


FULL, QUICK = Size(4, 3, 384, 64, 100_000, 2), Size(2, 2, 160, 8, 1000, 1)


class Streams(NamedTuple):
    tokens_per_s: float
    gap: float  # the largest of a stream ÷ its median
    written: int  # bytes


def streams(runner: TextRunner, folder: Path, size: Size, cache: Path | None) -> Streams:
    """One run of all clients; with `cache` everything is written there meanwhile."""
    per_prompt = kv_bytes(runner, size)
    load = Load(
        "bench",
        str(folder),
        hot_bytes=2 * per_prompt,  # for two prompts: the others are evicted
        cache_directory=None if cache is None else str(cache),
        cold_bytes=0 if cache is None else 64 << 30,
    )
    core = EngineCore(
        runner,
        vocab_size=engine.vocab_size_of(folder),
        max_concurrent=size.clients,
        step_tokens=load.step_tokens,
        reuse=build(load, runner, salts_of(load)),
    )
    times: dict[int, list[float]] = {}
    left = dict.fromkeys(range(size.clients), size.prompts)
    number = 0

    def send(client: int) -> None:
        nonlocal number
        number += 1
        left[client] -= 1
        prompt = words(number, size.prompt, engine.vocab_size_of(folder))
        sampling = Sampling(temperature=0.0, max_tokens=size.answer)
        core.add(Generate(number * size.clients + client, prompt, sampling))

    begin = time.perf_counter()
    for client in left:
        send(client)
    while not core.idle:
        for row in core.step():
            times.setdefault(row.id, []).append(time.perf_counter())
            if row.finish is not None and left[row.id % size.clients]:
                send(row.id % size.clients)
    seconds = time.perf_counter() - begin
    gaps = [[b - a for a, b in pairwise(each)] for each in times.values()]
    reuse: Any = core.reuse
    written = reuse.cache.cold.store.stats().written_bytes if cache is not None else 0
    reuse.close(60.0)
    runner.reset()
    tokens = sum(map(len, times.values()))
    worst = statistics.median(max(each) / statistics.median(each) for each in gaps)
    return Streams(tokens / seconds, worst, written)


def kv_bytes(runner: TextRunner, size: Size) -> int:
    caches = runner.new_cache()
    runner.prefill(caches, [1] * 256)
    each = sum(layer.nbytes for layer in caches) / 256
    return int(each * (size.prompt + size.answer))


def words(seed: int, count: int, vocab_size: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(10, vocab_size) for _ in range(count)]


def fill(directory: Path, blocks: int) -> None:
    """An index of so many blocks, as if they had been written."""
    index = Index(directory)
    for folder in layout.FOLDERS:
        index.looked_into(folder)
    for start in range(0, blocks, 10_000):
        some = range(start, min(start + 10_000, blocks))
        hashes = (hashlib.blake2b(str(i).encode(), digest_size=20).digest() for i in some)
        index.adopt([Entry(block, f"model{block[0] % 4}", 128, 1 << 20) for block in hashes], 1)
    index.tidy()
    index.close()


def start(directory: Path) -> tuple[float, float]:
    """Seconds and bytes of a process that opens the store."""
    done = subprocess.run(
        [sys.executable, "-c", START, str(directory)], capture_output=True, text=True, check=True
    )
    seconds, size = map(float, done.stdout.split())
    return seconds, size


def main() -> None:
    options = arguments(__doc__).parse_args()
    size = QUICK if options.quick else FULL
    report = Report(
        "The tier on disk",
        ("what", "without", "with", "with ÷ without"),
        BLAS,
        options.quick,
    )
    folder = models.folder_of("smallest" if options.quick else "medium")
    runner = engine.load(folder)
    pairs: list[tuple[Streams, Streams]] = []
    streams(runner, folder, size, None)
    for _ in range(size.rounds):
        with tempfile.TemporaryDirectory() as cache:
            plain = streams(runner, folder, size, None)
            pairs.append((plain, streams(runner, folder, size, Path(cache))))
    without, with_ = (
        Streams(*(statistics.median(values) for values in zip(*side, strict=True)))
        for side in zip(*pairs, strict=True)
    )
    add(report, "output tokens/s while it is written", without.tokens_per_s, with_.tokens_per_s)
    add(report, "largest gap ÷ median gap of a stream", without.gap, with_.gap)
    report.notes.append(f"{with_.written / 1e6:.0f} MB were written meanwhile")
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as full:
        fill(Path(full), size.blocks)
        start(Path(empty))
        seconds, size_bytes = start(Path(empty))
        seconds_full, size_full = start(Path(full))
    blocks = f"{size.blocks:,} blocks"
    add(report, f"ms to open and look up, {blocks}", seconds * 1e3, seconds_full * 1e3)
    add(report, f"MB of the process, {blocks}", size_bytes / 1e6, size_full / 1e6)
    report.finish(options.json)


def add(report: Report, what: str, without: float, with_: float) -> None:
    report.add(what, without, with_, with_ / without)


if __name__ == "__main__":
    main()
