"""What does one long row cost the short ones beside it? Our engine against a left-padded batch.

The same rows decode in our EngineCore and in mlx-lm's BatchGenerator, which pads all to the
longest; both are set up once and then timed in turns, a stretch of steps each. The bytes are those
of all keys and values that the running rows hold, unused columns included.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import time

import engine
import models
from batches import ENDLESS, Batch, OurBatch, Request, TheirBatch, prompt
from fastmlx.daemon.protocol.sampling import Sampling
from report import Report, arguments, median, ratio

MIXES = {
    "1 × 8192 + 7 × 64": [8192, *[64] * 7],
    "1 × 2048 + 7 × 64": [2048, *[64] * 7],
    "8 × 64": [64] * 8,
    "8 × 1024": [1024] * 8,
}
QUICK_MIXES = {"1 × 400 + 3 × 16": [400, 16, 16, 16], "4 × 16": [16] * 4}
WARM_STEPS = 4  # not timed: joining, the first growth of the caches
GREEDY = Sampling(temperature=0.0, max_tokens=ENDLESS)


def all_running(batch: Batch, rows: int) -> None:
    """Computes the prompts; returns when every row has decoded a few steps."""
    warm = 0
    while warm < WARM_STEPS:
        warm += len(batch.step()) == rows


def timed(batch: Batch, rows: int, steps: int) -> float:
    """Seconds of so many steps."""
    start = time.perf_counter()
    tokens = sum(len(batch.step()) for _ in range(steps))
    seconds = time.perf_counter() - start
    assert tokens == rows * steps, f"{tokens} tokens in {steps} steps of {rows} rows"
    return seconds


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: small)")
    parser.add_argument("--steps", type=int, default=32, help="timed steps a round")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    steps, rounds = (4, 2) if options.quick else (options.steps, options.rounds)
    folder = models.folder_of(options.model or ("smallest" if options.quick else "small"))

    runner = engine.load(folder)
    vocab_size = engine.vocab_size_of(folder)
    report = Report(
        f"Decode of rows of these lengths, {folder.name}, tokens/s (median of {rounds} rounds)",
        (
            "rows",
            "BatchGenerator",
            "engine",
            "its KV MB",
            "our KV MB",
            "KV ÷ its",
            "engine ÷ BatchGenerator",
        ),
        BLAS,
        options.quick,
    )
    for name, lengths in (QUICK_MIXES if options.quick else MIXES).items():
        rows = len(lengths)
        requests = [
            Request(prompt(number, length, vocab_size), GREEDY)
            for number, length in enumerate(lengths)
        ]
        theirs, ours = TheirBatch(runner, slots=rows), OurBatch(runner, folder, slots=rows)
        # All prompts in the first step: else the first rows are hundreds of tokens ahead of the
        # last one when that begins to run, and no lengths are what they are said to be.
        ours.core.scheduler.step_tokens = sum(lengths)
        for batch in (theirs, ours):
            batch.add(requests)
            all_running(batch, rows)
        their_s: list[float] = []
        our_s: list[float] = []
        for _ in range(rounds):
            their_s.append(timed(theirs, rows, steps))
            our_s.append(timed(ours, rows, steps))
        report.add(
            name,
            rows * steps / median(their_s),
            rows * steps / median(our_s),
            theirs.kv_bytes / 1e6,
            ours.kv_bytes / 1e6,
            ours.kv_bytes / theirs.kv_bytes,
            ratio(their_s, our_s),
        )
        theirs.close()
        ours.close()
    report.finish(options.json)


if __name__ == "__main__":
    main()
