"""What do LoRA adapters cost in a batch? Rows of four adapters together, without, and in turns.

The rows of a batch are dealt out to four adapters (rank 8 on every linear layer of every block) of
one loaded model. They decode in our EngineCore, each with its adapter; the same rows without any;
and in mlx-lm's BatchGenerator, which knows one adapter a model, so that four loaded models decode
their share of the rows one after the other. All are set up once and then timed in turns.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import engine
import models
from batches import ENDLESS, Request, TheirBatch, prompt
from fastmlx.daemon.engine import loader
from fastmlx.daemon.engine.runners.text import TextRunner
from fastmlx.daemon.engine.runners.warmup import warm_up
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate, NamedAdapter
from mlx_lm.utils import load_adapters, load_model
from report import Report, arguments, median, ratio
from tiny_adapters import write_adapter

ADAPTERS = 4
RANK = 8
PROMPT_TOKENS = 32
GREEDY = Sampling(temperature=0.0, max_tokens=ENDLESS)


class Ours:
    """Row i uses adapter 1 + i % `adapters`, or none."""

    def __init__(self, runner: TextRunner, folder: Path, rows: int, adapters: int) -> None:
        self.core = engine.core_over(runner, folder, max_concurrent=rows)
        self.rows = rows
        vocab_size = engine.vocab_size_of(folder)
        for row in range(rows):
            tokens = prompt(row, PROMPT_TOKENS, vocab_size)
            number = 1 + row % adapters if adapters else 0
            self.core.add(Generate(row, tokens, GREEDY, adapter=number))

    def step(self) -> int:
        return len(self.core.step())

    def close(self) -> None:
        for row in range(self.rows):
            self.core.abort(row)
        while not self.core.idle:
            self.core.step()


class Theirs:
    """A batch a model."""

    def __init__(self, loaded: list[Any], folder: Path, rows: int) -> None:
        vocab_size = engine.vocab_size_of(folder)
        self.batches: list[TheirBatch] = []
        for number, model in enumerate(loaded):
            mine = range(number, rows, len(loaded))
            runner: Any = SimpleNamespace(model=model)
            batch = TheirBatch(runner, slots=len(mine))
            batch.add([Request(prompt(row, PROMPT_TOKENS, vocab_size), GREEDY) for row in mine])
            self.batches.append(batch)

    def step(self) -> int:
        return sum(len(batch.step()) for batch in self.batches)

    def close(self) -> None:
        for batch in self.batches:
            batch.close()


def timed(batch: Ours | Theirs, rows: int, steps: int) -> float:
    """Seconds of so many steps."""
    start = time.perf_counter()
    tokens = sum(batch.step() for _ in range(steps))
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
    report = Report(
        f"Decode with {ADAPTERS} adapters, {folder.name}, tokens/s (median of {rounds} rounds)",
        ("rows", "mlx-lm in turns", "base", "adapters", "÷ base", "engine ÷ mlx-lm"),
        BLAS,
        options.quick,
    )
    with tempfile.TemporaryDirectory() as temporary:
        adapters = [
            write_adapter(folder, Path(temporary) / f"a{seed}", seed=seed, rank=RANK, scale=1.0)
            for seed in range(ADAPTERS)
        ]
        named = [NamedAdapter(path.name, str(path)) for path in adapters]
        loaded = loader.load(folder, (), None, lambda stage: None, named)
        runner = TextRunner(loaded.model, loaded.selection)
        warm_up(runner)
        apart = [load_adapters(load_model(folder)[0], str(path)) for path in adapters]
        for model in apart:
            model.eval()
    for rows in (4, 8) if options.quick else (4, 8, 32):
        measure(report, folder, runner, apart, rows, steps, rounds)
    report.finish(options.json)


def measure(
    report: Report,
    folder: Path,
    runner: TextRunner,
    apart: list[Any],
    rows: int,
    steps: int,
    rounds: int,
) -> None:
    seconds: dict[str, list[float]] = {"theirs": [], "base": [], "adapters": []}
    theirs = Theirs(apart, folder, rows)
    while theirs.step() < rows:
        pass
    for _ in range(rounds):
        seconds["theirs"].append(timed(theirs, rows, steps))
        # One runner holds the rows of one core: the two take it in turns.
        for name, adapters in (("base", 0), ("adapters", ADAPTERS)):
            ours = Ours(runner, folder, rows, adapters)
            for _ in range(4):
                while ours.step() < rows:
                    pass
            seconds[name].append(timed(ours, rows, steps))
            ours.close()
    theirs.close()
    rates = [rows * steps / median(each) for each in seconds.values()]
    over_base = ratio(seconds["base"], seconds["adapters"])
    report.add(rows, *rates, over_base, ratio(seconds["theirs"], seconds["adapters"]))


if __name__ == "__main__":
    main()
