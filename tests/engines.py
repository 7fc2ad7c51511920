"""Engine cores over tiny models, driven without a socket, and mlx-lm's answer beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate, TokenRow

# Two logits closer than this are a tie: which of them wins depends on the order of summation.
TIE = 2e-3


@cache
def model_at(folder: Path) -> Any:
    from fastmlx.daemon.engine import loader

    return loader.load(folder, (), None, lambda stage: None).model


@cache
def warmed_at(folder: Path) -> Any:
    """What the warm-up says of the model of the folder."""
    from fastmlx.daemon.engine.runners.text import TextRunner
    from fastmlx.daemon.engine.runners.warmup import warm_up

    return warm_up(TextRunner(model_at(folder)))


def core_at(
    folder: Path,
    *,
    max_concurrent: int = 32,
    step_tokens: int = 512,
    max_kv_tokens: int | None = None,
    hot_bytes: int = 0,
    cold: Path | None = None,
    block: int = 128,
    **reuse: Any,
) -> Any:
    """A fresh EngineCore over the model of the folder, loaded and warmed up once. `cold` is
    a directory for the cold tier, `block` the tokens of its blocks; `reuse` are arguments of the
    class of that name, for other distances than those between real prompts."""
    from fastmlx.daemon.engine.core import EngineCore
    from fastmlx.daemon.engine.grammar import GrammarCompiler
    from fastmlx.daemon.engine.kv.cold.store import ColdStore
    from fastmlx.daemon.engine.kv.cold_tier import ColdTier
    from fastmlx.daemon.engine.kv.payload import has_spans
    from fastmlx.daemon.engine.kv.prefix_cache import PrefixCache
    from fastmlx.daemon.engine.reuse import Reuse
    from fastmlx.daemon.engine.runners.text import TextRunner
    from fastmlx.daemon.engine.runners.warmup import settle

    runner = TextRunner(model_at(folder))
    warmed = warmed_at(folder)
    settle(runner, warmed)
    tier = None
    if cold is not None:
        store = ColdStore(cold, 1 << 28)
        tier = ColdTier(store, "m", spans=has_spans(runner.new_cache()), block=block)
    return EngineCore(
        runner,
        vocab_size=warmed.vocab_size,
        max_concurrent=max_concurrent,
        step_tokens=step_tokens,
        max_kv_tokens=max_kv_tokens,
        grammars=GrammarCompiler(folder, warmed.vocab_size),
        reuse=Reuse(PrefixCache(runner.new_cache(), hot_bytes, cold=tier), **reuse),
    )


def run(
    core: Any,
    requests: Iterable[Generate],
    *,
    join_every: int = 0,
    on_step: Callable[[int, dict[int, list[TokenRow]]], None] | None = None,
) -> dict[int, list[TokenRow]]:
    """Runs the requests to their end; one more joins every `join_every` steps (0: all at once).

    `on_step(step, rows so far)` may abort or add. Returns each request's rows.
    """
    waiting = list(requests)
    rows: dict[int, list[TokenRow]] = {}
    step = 0
    while waiting or not core.idle:
        if not join_every:
            for request in waiting:
                core.add(request)
            waiting.clear()
        elif step % join_every == 0 and waiting:
            core.add(waiting.pop(0))
        for row in core.step():
            rows.setdefault(row.id, []).append(row)
        if on_step is not None:
            on_step(step, rows)
        step += 1
        assert step < 10_000, "the engine does not come to an end"
    core.check()
    return rows


def tokens_of(rows: list[TokenRow]) -> list[int]:
    return [token for row in rows for token in row.tokens]


def greedy(num_tokens: int, **fields: Any) -> Sampling:
    return Sampling(temperature=0.0, max_tokens=num_tokens, **fields)


def alone(folder: Path, prompt: list[int], num_tokens: int) -> tuple[list[int], list[float]]:
    """mlx-lm's own greedy answer to the prompt by itself: tokens, and by how much each won."""
    return answer(model_at(folder), prompt, num_tokens)


def answer(model: Any, prompt: list[int], num_tokens: int) -> tuple[list[int], list[float]]:
    """The same of a loaded model."""
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    tokens: list[int] = []
    margins: list[float] = []
    steps = generate_step(mx.array(prompt), model, max_tokens=num_tokens)
    for token, logprobs in steps:
        top: Any = mx.topk(logprobs, 2).tolist()
        tokens.append(int(token))
        margins.append(abs(top[0] - top[1]))
    return tokens, margins


def assert_same(got: list[int], want: list[int], margins: list[float]) -> None:
    """Token for token, up to a tie within float error; the same length in any case."""
    assert len(got) == len(want)
    for i, (ours, theirs) in enumerate(zip(got, want, strict=True)):
        if ours != theirs:
            assert margins[i] < TIE, f"token {i}: {ours} instead of {theirs}, won by {margins[i]}"
            return


def assert_balanced(core: Any) -> None:
    """The books of a core, and of what it keeps; where it is idle nobody holds on to anything."""
    core.check()
    if core.idle:
        assert (core.kv_bytes, core.kv_tokens, core.num_running, core.num_waiting) == (0, 0, 0, 0)
        if core.reuse is not None:
            held = [node for node in core.reuse.cache.tree.nodes() if node.users]
            assert not held, "nothing runs, but somebody still holds on to a prefix"
