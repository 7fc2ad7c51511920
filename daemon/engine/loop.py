"""The engine's main loop: receive → step → send. Everything of MLX happens on this thread."""

from __future__ import annotations

import contextlib
import gc
import queue
import signal
import socket
import time
from pathlib import Path

from ..protocol import wire
from .pipe import Pipe

# While idle the loop wakes this often to report statistics that changed last.
IDLE_TICK_S = 0.5


def run(connection: socket.socket) -> int:
    """Loads the model that the first message names and serves it until told to stop.

    Returns the process's exit status: 0 after Stop, 1 when the model could not be loaded.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the front's business
    pipe = Pipe(connection)
    load = pipe.inbox.get()
    if not isinstance(load, wire.Load):
        return 0  # stopped before it was told anything
    try:
        core, reporter = _load(pipe, load)
    except _Failed as failure:
        pipe.send(wire.LoadFailed(str(failure)))
        pipe.close()
        return 1
    from .device import release_unused_memory

    tidy = True  # nothing to give back since the last step
    while True:
        messages = _receive(pipe.inbox, wait=core.idle)
        if not messages and core.idle and not tidy:
            release_unused_memory()
            tidy = True
        for message in messages:
            match message:
                case wire.Generate():
                    core.add(message)
                case wire.Abort(id=request_id):
                    core.abort(request_id)
                case wire.Stop():
                    pipe.close()
                    return 0
                case wire.Load():
                    pass  # only the first one counts
        if not core.idle:
            tidy = False
            rows = core.step()
            if rows:
                pipe.send(wire.Tokens(rows))
            if core.idle:
                core.check()
        if core.rejected:
            for rejected in core.rejected:
                pipe.send(rejected)
            core.rejected.clear()
        stats = reporter.due(time.monotonic())
        if stats is not None:
            pipe.send(stats)


class _Failed(Exception):
    pass


def _load(pipe: Pipe, load: wire.Load):
    """Everything slow before Ready; imports of mlx among it, so that progress is seen early."""
    pipe.send(wire.Loading("importing", 0.0))
    from . import lean

    lean.install()
    from . import device, loader
    from .core import EngineCore
    from .runners.text import TextRunner
    from .runners.warmup import warm_up
    from .stats import StatsReporter

    device.set_limits(load.memory_limit_bytes)
    stages = {"importing": 0.05, "reading weights": 0.2, "warming up": 0.9}

    def progress(stage: str) -> None:
        pipe.send(wire.Loading(stage, stages[stage]))

    try:
        loaded = loader.load(
            Path(load.path), load.adapters, load.context, progress, load.named_adapters
        )
        progress("warming up")
        runner = TextRunner(loaded.model, loaded.selection)
        warmed = warm_up(runner)
    except loader.LoadError as error:
        raise _Failed(str(error)) from error
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError) as error:
        raise _Failed(f"the first step failed: {error or type(error).__name__}") from error
    core = EngineCore(
        runner,
        vocab_size=warmed.vocab_size,
        max_concurrent=load.max_concurrent,
        step_tokens=load.step_tokens,
    )
    notes = (*loaded.notes, warmed.note) if warmed.note else loaded.notes
    pipe.send(
        wire.Ready(
            context=loaded.context,
            vocab_size=warmed.vocab_size,
            memory_bytes=loaded.weights_bytes,
            kv_bytes_per_token=warmed.kv_bytes_per_token,
            batches=warmed.batches,
            notes=notes,
        )
    )
    # What lives now lives until the end: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    return core, StatsReporter(core)


def _receive(inbox: queue.SimpleQueue[wire.ToEngine], *, wait: bool) -> list[wire.ToEngine]:
    """All messages that are there; when idle, waits a tick for the first."""
    messages: list[wire.ToEngine] = []
    with contextlib.suppress(queue.Empty):
        messages.append(inbox.get(timeout=IDLE_TICK_S) if wait else inbox.get_nowait())
        while True:
            messages.append(inbox.get_nowait())
    return messages
