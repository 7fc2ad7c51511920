"""What does the engine add to the model? Decode steps of the engine against a bare loop.

The bare loop is the least that can generate a batch: model(tokens, cache) and argmax, the next
step submitted before the last one is read, over mlx-lm's BatchKVCache (KVCache for one row). The
engine does the same steps with its scheduler, sampler and books, in the same process, in turns.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import time
from typing import Any

import engine
import mlx.core as mx
import models
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate
from mlx_lm.models.cache import make_prompt_cache
from report import Report, arguments, median, ratio

BATCHES = (1, 4, 16, 32)
PROMPT_TOKENS = 32
WARM_STEPS = 4  # not timed: joining, the first growth of the caches


def prompts(rows: int, vocab_size: int) -> list[list[int]]:
    step = 7919
    return [
        [(row * 31 + i * step) % vocab_size for i in range(PROMPT_TOKENS)] for row in range(rows)
    ]


def bare_loop(model: Any, rows: int, steps: int, vocab_size: int) -> float:
    """Seconds of `steps` decode steps."""
    inputs = mx.array(prompts(rows, vocab_size))
    caches = []
    for row in range(rows):
        cache = make_prompt_cache(model)
        model(inputs[row : row + 1, :-1], cache=cache)
        caches.append(cache)
    cache = caches[0]
    if rows > 1:
        cache = [type(layers[0]).merge(list(layers)) for layers in zip(*caches, strict=True)]
    del caches
    mx.eval([layer.state for layer in cache])

    def submit(tokens: mx.array) -> mx.array:
        tokens = mx.argmax(model(tokens[:, None], cache=cache)[:, -1], axis=-1)
        mx.async_eval(tokens)
        return tokens

    submitted = submit(inputs[:, -1])
    start = 0.0
    for step in range(WARM_STEPS + steps):
        if step == WARM_STEPS:
            start = time.perf_counter()
        following = submit(submitted)
        submitted.tolist()
        submitted = following
    seconds = time.perf_counter() - start
    mx.eval(submitted)
    return seconds


def engine_steps(core: Any, rows: int, steps: int, vocab_size: int) -> float:
    """Seconds of `steps` decode steps of the engine with all rows running."""
    # Two more: the last step is timed with all rows in it, and one step is always submitted ahead.
    sampling = Sampling(temperature=0.0, max_tokens=WARM_STEPS + steps + 2)
    for number, prompt in enumerate(prompts(rows, vocab_size)):
        core.add(Generate(number, prompt, sampling))
    warm = 0
    while warm < WARM_STEPS:
        warm += len(core.step()) == rows
    start = time.perf_counter()
    delivered = sum(len(core.step()) for _ in range(steps))
    seconds = time.perf_counter() - start
    assert delivered == rows * steps, f"{delivered} tokens in {steps} steps of {rows} rows"
    while not core.idle:
        core.step()
    return seconds


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="folder, or a size of bench/models.py (default: small)")
    parser.add_argument("--steps", type=int, default=128, help="timed steps a round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    steps, rounds = (8, 1) if options.quick else (options.steps, options.rounds)
    batches = BATCHES[:2] if options.quick else BATCHES
    folder = models.folder_of(options.model or ("smallest" if options.quick else "small"))

    runner = engine.load(folder)
    core = engine.core_over(runner, folder, max_concurrent=max(batches))
    vocab_size = engine.vocab_size_of(folder)
    report = Report(
        f"Decode steps of {folder.name}, output tokens per second (median of {rounds} rounds)",
        ("batch", "bare loop", "engine", "engine ÷ bare"),
        BLAS,
        options.quick,
    )
    for rows in batches:
        bare: list[float] = []
        ours: list[float] = []
        for _ in range(rounds):
            bare.append(bare_loop(runner.model, rows, steps, vocab_size))
            ours.append(engine_steps(core, rows, steps, vocab_size))
        rates = [rows * steps / median(seconds) for seconds in (bare, ours)]
        report.add(rows, *rates, ratio(bare, ours))
    report.finish(options.json)


if __name__ == "__main__":
    main()
