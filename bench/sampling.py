"""What does sampling cost when every row wants another kind? Against as many greedy rows.

The same rows decode greedily, with one set of parameters for all, with a set of each row's own, and
with penalties and biases on top. mlx-lm's BatchGenerator does the same in turns, against its own
greedy rows.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import random
import time
from collections.abc import Callable
from typing import Any

import engine
import models
from batches import ENDLESS, Batch, OurBatch, Request, TheirBatch, prompt
from fastmlx.daemon.protocol.sampling import Sampling
from report import Report, arguments, median, ratio

ROWS = 32
PROMPT_TOKENS = 32
WARM_STEPS = 6  # not timed: joining, compiling


def greedy(row: int) -> Sampling:
    return Sampling(temperature=0.0, max_tokens=ENDLESS)


def same_for_all(row: int) -> Sampling:
    return Sampling(temperature=0.7, top_p=0.9, seed=row, max_tokens=ENDLESS)


def of_its_own(row: int) -> Sampling:
    return Sampling(**_parameters(row))


def with_penalties(row: int) -> Sampling:
    return Sampling(
        repetition_penalty=1.01 + row / 200,
        presence_penalty=0.01 * (row + 1),
        frequency_penalty=0.02 * (row + 1),
        logit_bias={row: 1.0, row + 100: -1.0},
        **_parameters(row),
    )


def _parameters(row: int) -> dict[str, Any]:
    chance = random.Random(row)
    return {
        "temperature": 0.5 + row / 64,
        "top_p": chance.uniform(0.7, 0.99),
        "top_k": chance.randint(10, 200),
        "min_p": chance.uniform(0.001, 0.05),
        "seed": row,
        "max_tokens": ENDLESS,
    }


KINDS: dict[str, Callable[[int], Sampling]] = {
    "greedy": greedy,
    "T 0.7 top_p 0.9 for all": same_for_all,
    "each row its own T, top_p, top_k, min_p": of_its_own,
    "the same, penalties, logit_bias": with_penalties,
}


def decode(batch: Batch, kind: Callable[[int], Sampling], steps: int, vocab_size: int) -> float:
    """Seconds of so many steps with all rows running."""
    batch.add([Request(prompt(row, PROMPT_TOKENS, vocab_size), kind(row)) for row in range(ROWS)])
    warm = 0
    while warm < WARM_STEPS:
        warm += len(batch.step()) == ROWS
    start = time.perf_counter()
    tokens = sum(len(batch.step()) for _ in range(steps))
    seconds = time.perf_counter() - start
    assert tokens == ROWS * steps, f"{tokens} tokens in {steps} steps of {ROWS} rows"
    batch.close()
    return seconds


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: small)")
    parser.add_argument("--steps", type=int, default=64, help="timed steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    steps, rounds = (4, 1) if options.quick else (options.steps, options.rounds)
    folder = models.folder_of(options.model or ("smallest" if options.quick else "small"))

    runner = engine.load(folder)
    vocab_size = engine.vocab_size_of(folder)
    report = Report(
        f"{ROWS} rows of {folder.name}, output tokens/s (median of {rounds} rounds)",
        ("parameters", "BatchGenerator", "engine", "its ÷ its greedy", "engine ÷ its greedy"),
        BLAS,
        options.quick,
    )
    makers: tuple[Callable[[], Batch], ...] = (
        lambda: TheirBatch(runner, slots=ROWS),
        lambda: OurBatch(runner, folder, slots=ROWS),
    )
    seconds: dict[str, tuple[list[float], ...]] = {name: ([], []) for name in KINDS}
    for _ in range(rounds):
        for name, kind in KINDS.items():
            for make, spent in zip(makers, seconds[name], strict=True):
                spent.append(decode(make(), kind, steps, vocab_size))
    for name, sides in seconds.items():
        rates = [ROWS * steps / median(spent) for spent in sides]
        ratios = [ratio(base, spent) for base, spent in zip(seconds["greedy"], sides, strict=True)]
        report.add(name, *rates, *ratios)
    report.finish(options.json)


if __name__ == "__main__":
    main()
