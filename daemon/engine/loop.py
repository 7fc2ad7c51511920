"""The engine's main loop: receive → step → send. Everything of MLX happens on this thread."""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol import wire
from . import log
from .pipe import Pipe
from .ranks.lockstep import Lockstep

if TYPE_CHECKING:
    from .core import EngineCore
    from .stats import StatsReporter

# While idle the loop wakes this often to report statistics that changed last.
IDLE_TICK_S = 0.5
# To write what is only in memory to the cold tier before the engine ends.
CLOSE_S = 4.0


def run(connection: socket.socket) -> int:
    """Loads the model that the first message names and serves it until told to stop.

    Returns the process's exit status: 0 after Stop, 1 when the model could not be loaded.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the front's business
    pipe = Pipe(connection)
    log.set_up(pipe.send)
    load = pipe.first()
    if not isinstance(load, wire.Load):
        return 0  # stopped before it was told anything
    if load.kind != "text":
        from .embedding.loop import serve

        return serve(pipe, load)
    try:
        lockstep = _lockstep(pipe, load)
        load = lockstep.load(load)
        core, reporter = prepare(load, lockstep, pipe.send)
    except Failed as failure:
        pipe.send(wire.LoadFailed(str(failure)))
        pipe.close()
        return 1
    from .device import release_unused_memory

    def tell(rows: list[wire.TokenRow]) -> None:
        pipe.send(wire.Tokens(rows))

    tidy = True  # nothing to give back since the last step
    while True:
        messages = pipe.take(IDLE_TICK_S if core.idle else 0.0)
        if not messages and core.idle and not tidy:
            core.check()  # now, as it looks at all that is cached and nobody waits for it
            release_unused_memory()
            if core.share is not None:
                core.share.rest()
            tidy = True
        if core.idle and not messages and core.reuse is not None:
            core.reuse.tend()
        if messages or not core.idle:
            messages = lockstep.share(messages)
        for message in messages:
            if not handle(core, message):
                if core.reuse is not None:
                    # The front sends it to those that are slow to end; SIGKILL comes in any case.
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    core.reuse.close(CLOSE_S)
                lockstep.stop()
                pipe.close()
                return 0
            tidy = False
        if not core.idle:
            tidy = False
            core.step(tell)
            if core.share is not None:
                core.share.keep()
        if core.rejected:
            for rejected in core.rejected:
                pipe.send(rejected)
            core.rejected.clear()
        stats = reporter.due(time.monotonic())
        if stats is not None:
            pipe.send(lockstep.sum(stats))


class Failed(Exception):
    """The model cannot be loaded; the message is for the user."""


def handle(core: EngineCore, message: wire.ToEngine) -> bool:
    """Does what the front said; False: to stop."""
    match message:
        case wire.Generate():
            core.add(message)
        case wire.Abort(id=request_id):
            core.abort(request_id)
        case wire.Tune(max_gap_s=max_gap_s, debug=debug):
            core.pacer.max_gap_s = max_gap_s
            log.set_level(debug=debug)
        case wire.Embed(id=request_id) | wire.Score(id=request_id):
            text = "this model generates text, and neither embeds nor compares any"
            core.rejected.append(wire.Rejected(request_id, text, bad_request=True))
        case wire.Stop():
            return False
        case wire.CacheLimits() if core.reuse is not None:
            core.reuse.limit(message)
            if core.share is not None:
                core.share.hot_bytes = message.hot_bytes
        case wire.MemoryLimit(num_bytes=num_bytes) if core.share is not None:
            core.share.limit(num_bytes)
        case wire.ClearCache(hot=hot, cold=cold) if core.reuse is not None:
            core.reuse.clear(hot=hot, cold=cold)
        case _:
            pass  # a second Load; limits of a cache that this model cannot have
    return True


def _lockstep(pipe: Pipe, load: wire.Load) -> Lockstep:
    """Alone, or with the other ranks of the group, which start now."""
    if load.distributed is None:
        return Lockstep()
    if load.adapters or load.named_adapters:
        raise Failed("adapters cannot be used with a model that is split over processes")
    from .ranks.leader import Leader

    def fail(message: str) -> None:
        pipe.send(wire.LoadFailed(message))
        pipe.close()
        os._exit(1)

    try:
        return Leader(load, load.distributed, fail)
    except OSError as error:
        raise Failed(f"the group of processes cannot be started: {error}") from error


def prepare(
    load: wire.Load, lockstep: Lockstep, send: Callable[[Any], None]
) -> tuple[EngineCore, StatsReporter]:
    """Everything slow before Ready; imports of mlx among it, so that progress is seen early.

    `send` is told the progress, and that all is ready. Raises Failed.
    """
    send(wire.Loading("importing", 0.0))
    from . import lean

    lean.install()
    from . import device, loader, prefixes
    from .core import EngineCore
    from .grammar import GrammarCompiler
    from .kv.hashes import make_salt
    from .kv.ragged import kinds
    from .resident import Resident
    from .runners.text import TextRunner
    from .runners.warmup import warm_up
    from .share import MemoryShare, kv_tokens
    from .stats import StatsReporter

    device.set_limits(load.memory_limit_bytes)
    stages = {"importing": 0.05, "reading weights": 0.2, "warming up": 0.9}

    def progress(stage: str) -> None:
        send(wire.Loading(stage, stages[stage]))

    try:
        lockstep.join()
    except RuntimeError as error:
        raise Failed(f"the processes of the group did not meet: {error}") from error
    try:
        loaded = loader.load(
            Path(load.path),
            load.adapters,
            load.context,
            progress,
            load.named_adapters,
            lockstep.split,
        )
        progress("warming up")
        salts = prefixes.salts_of(load)
        runner = TextRunner(loaded.model, loaded.selection, lockstep)
        model = make_salt(version("mlx"), version("fastmlx"), *salts)
        # The ranks of a group look for themselves, and agree.
        known = load.warmed if lockstep.alone else None
        warmed = warm_up(runner, known if known is not None and known.model == model else None)
    except loader.LoadError as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"the weights cannot be read again: {error}") from error
    except loader.BROKEN as error:
        raise Failed(f"the first step failed: {error or type(error).__name__}") from error
    # Ranks whose parts of the model differ in size would not evict the same prefixes.
    even = lockstep.alike([*sorted(kinds(runner.new_cache())), str(warmed.kv_bytes_per_token)])
    notes = [*loaded.notes, *filter(None, [warmed.note])]
    if not even:
        notes.append("prefixes are not kept: the parts of the model differ in size")
    reuse = prefixes.build(load, runner, salts) if warmed.restores and even else None
    core = EngineCore(
        runner,
        vocab_size=warmed.vocab_size,
        max_concurrent=load.max_concurrent,
        step_tokens=load.step_tokens,
        max_kv_tokens=kv_tokens(load.kv_limit_bytes, warmed.kv_bytes_per_token),
        grammars=GrammarCompiler(Path(load.path), warmed.vocab_size),
        reuse=reuse,
    )
    if lockstep.alone:
        resident = Resident()

        def set_limit(limit_bytes: int) -> None:
            device.bound_memory(limit_bytes)
            resident.bound(limit_bytes)

        core.share = MemoryShare(
            core,
            weights_bytes=loaded.weights_bytes,
            kv_bytes_per_token=warmed.kv_bytes_per_token,
            hot_bytes=load.hot_bytes,
            set_limit=set_limit,
            tidy=resident.tidy,
        )
    ready = wire.Ready(
        context=loaded.context,
        vocab_size=warmed.vocab_size,
        memory_bytes=loaded.weights_bytes,
        kv_bytes_per_token=warmed.kv_bytes_per_token,
        batches=warmed.batches,
        notes=tuple(notes),
        warmed=msgspec.structs.replace(warmed, model=model),
    )
    send(lockstep.ready(ready))
    # What lives now lives until the end: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    return core, StatsReporter(core)
