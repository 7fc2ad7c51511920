"""What does it cost that requests come and go all the time? Our engine against mlx-lm's generator.

Short requests with prompts and answers of 8 to 64 tokens wait for a slot; whenever one ends, the
next one joins. Both sides get the same requests, all at once, in turns; what is timed is the whole
of it: prompts, joining, decoding, leaving.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import random
import time
from collections.abc import Callable

import engine
import models
from batches import Batch, OurBatch, Request, TheirBatch, prompt
from fastmlx.daemon.protocol.sampling import Sampling
from report import Report, arguments, median, ratio

SLOTS = (8, 32)
SHORTEST, LONGEST = 8, 64  # tokens, of prompts and of answers


def requests_of(count: int, seed: int, vocab_size: int) -> list[Request]:
    chance = random.Random(seed)
    return [
        Request(
            prompt(seed * count + number, chance.randint(SHORTEST, LONGEST), vocab_size),
            Sampling(temperature=0.0, max_tokens=chance.randint(SHORTEST, LONGEST)),
        )
        for number in range(count)
    ]


def run(batch: Batch, requests: list[Request]) -> float:
    """Seconds until the last request has its last token."""
    start = time.perf_counter()
    batch.add(requests)
    tokens = 0
    while not batch.idle:
        tokens += len(batch.step())
    seconds = time.perf_counter() - start
    batch.close()
    wanted = sum(request.sampling.max_tokens for request in requests)
    assert tokens == wanted, f"{tokens} tokens instead of {wanted}"
    return seconds


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: small)")
    parser.add_argument("--requests", type=int, default=12, help="of a slot, one after the other")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slots", type=int, nargs="+", default=SLOTS)
    options = parser.parse_args()
    each, rounds = (2, 1) if options.quick else (options.requests, options.rounds)
    folder = models.folder_of(options.model or ("smallest" if options.quick else "small"))

    runner = engine.load(folder)
    vocab_size = engine.vocab_size_of(folder)
    report = Report(
        f"Requests joining and leaving, {folder.name}, output tokens/s (median of {rounds} rounds)",
        ("slots", "requests", "BatchGenerator", "engine", "engine ÷ BatchGenerator"),
        BLAS,
        options.quick,
    )
    for slots in (4,) if options.quick else options.slots:
        makers: tuple[Callable[[], Batch], ...] = (
            lambda slots=slots: TheirBatch(runner, slots=slots),
            lambda slots=slots: OurBatch(runner, folder, slots=slots),
        )
        seconds: tuple[list[float], ...] = ([], [])
        tokens: list[int] = []
        for make in makers:  # not timed: kernels of new shapes are compiled
            run(make(), requests_of(slots, 0, vocab_size))
        for seed in range(1, rounds + 1):
            requests = requests_of(slots * each, seed, vocab_size)
            tokens.append(sum(request.sampling.max_tokens for request in requests))
            for make, spent in zip(makers, seconds, strict=True):
                spent.append(run(make(), requests))
        rates = [
            median(count / taken for count, taken in zip(tokens, spent, strict=True))
            for spent in seconds
        ]
        report.add(slots, slots * each, *rates, ratio(*seconds))
    report.finish(options.json)


if __name__ == "__main__":
    main()
