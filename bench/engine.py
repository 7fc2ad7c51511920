"""The engine without a daemon around it, as benchmarks drive it."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate

if TYPE_CHECKING:
    from fastmlx.daemon.engine.core import EngineCore
    from fastmlx.daemon.engine.runners.text import TextRunner


def load(folder: Path) -> TextRunner:
    """The model with its runner, warmed up as the engine process does it."""
    from fastmlx.daemon.engine import loader
    from fastmlx.daemon.engine.runners.text import TextRunner
    from fastmlx.daemon.engine.runners.warmup import warm_up

    runner = TextRunner(loader.load(folder, (), None, lambda stage: None).model)
    warm_up(runner)
    gc.collect()
    gc.freeze()
    return runner


def core_over(runner: TextRunner, folder: Path, *, max_concurrent: int) -> EngineCore:
    """A fresh engine core over the loaded model."""
    from fastmlx.daemon.engine.core import EngineCore
    from fastmlx.daemon.protocol.wire import Load

    step_tokens = Load(name="bench", path=str(folder)).step_tokens
    return EngineCore(
        runner,
        vocab_size=vocab_size_of(folder),
        max_concurrent=max_concurrent,
        step_tokens=step_tokens,
    )


def vocab_size_of(folder: Path) -> int:
    return json.loads((folder / "config.json").read_text())["vocab_size"]


def drive(
    core: EngineCore, clients: Iterable[Iterable[list[int]]], sampling: Sampling
) -> tuple[int, float]:
    """Each client sends its prompts one after the other; returns output tokens and seconds."""
    queues: dict[int, Iterator[list[int]]] = {}
    number = 0

    def send(prompts: Iterator[list[int]]) -> None:
        nonlocal number
        prompt = next(prompts, None)
        if prompt is not None:
            number += 1
            queues[number] = prompts
            core.add(Generate(number, prompt, sampling))

    tokens = 0
    start = time.perf_counter()
    for client in clients:
        send(iter(client))
    while not core.idle:
        for row in core.step():
            tokens += len(row.tokens)
            if row.finish is not None:
                send(queues.pop(row.id))
    return tokens, time.perf_counter() - start
