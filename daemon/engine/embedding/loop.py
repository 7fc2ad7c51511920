"""The main loop of an engine that embeds or reranks: receive → step → send."""

from __future__ import annotations

import gc
import time
from pathlib import Path

from ...protocol import wire
from .. import log
from ..pipe import Pipe

IDLE_TICK_S = 0.5
STATS_S = 0.5


def serve(pipe: Pipe, load: wire.Load) -> int:
    """Loads the model and serves it until told to stop; the process's exit status."""
    pipe.send(wire.Loading("importing", 0.05))
    from .. import lean

    lean.install()
    from .. import device
    from ..loader import BROKEN, LoadError
    from ..runners.embedding import EmbeddingRunner
    from ..runners.reranker import RerankerRunner
    from .batches import Input
    from .core import EmbeddingCore
    from .loader import load_body, load_reranker

    device.set_limits(load.memory_limit_bytes)
    pipe.send(wire.Loading("reading weights", 0.2))
    try:
        if load.adapters or load.named_adapters or load.distributed is not None:
            text = f"a model of the kind {load.kind} has no adapters, and runs in one process"
            raise LoadError(text)
        if load.kind == "reranker":
            loaded = load_reranker(Path(load.path), load.context)
            runner = RerankerRunner(loaded)
        else:
            loaded = load_body(Path(load.path), load.context)
            runner = EmbeddingRunner(loaded)
        pipe.send(wire.Loading("warming up", 0.9))
        runner.run([Input([1, 2, 3], 1, (1, 2)), Input([1], 0, (1, 2))]).tolist()
    except (LoadError, *BROKEN) as error:
        pipe.send(wire.LoadFailed(str(error) or type(error).__name__))
        pipe.close()
        return 1
    core = EmbeddingCore(runner, vocab_size=loaded.vocab_size, context=loaded.context)
    pipe.send(
        wire.Ready(
            context=loaded.context,
            vocab_size=loaded.vocab_size,
            memory_bytes=loaded.weights_bytes,
            kv_bytes_per_token=0,
            batches=True,
            notes=loaded.notes,
        )
    )
    gc.collect()
    gc.freeze()
    last, last_at_s = core.stats(), 0.0
    tidy = True
    while True:
        messages = pipe.take(IDLE_TICK_S if core.idle else 0.0)
        if not messages and core.idle and not tidy:
            device.release_unused_memory()
            tidy = True
        for message in messages:
            match message:
                case wire.Embed() | wire.Score():
                    if (rejected := core.add(message)) is not None:
                        pipe.send(rejected)
                case wire.Generate(id=request_id):
                    text = "this model generates no text"
                    pipe.send(wire.Rejected(request_id, text, bad_request=True))
                case wire.Abort(id=request_id):
                    core.abort(request_id)
                case wire.Tune(debug=debug):
                    log.set_level(debug=debug)
                case wire.Stop():
                    pipe.close()
                    return 0
                case _:
                    pass
        if not core.idle:
            tidy = False
            for answer in core.step():
                pipe.send(answer)
        now_s, stats = time.monotonic(), core.stats()
        due = now_s - last_at_s >= STATS_S or (not stats.running and last.running)
        if due and stats != last:
            pipe.send(stats)
            last, last_at_s = stats, now_s
