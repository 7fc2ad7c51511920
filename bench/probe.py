"""What the engine can do with one model file of mlx-lm, found by doing it.

A tiny model with random float32 weights goes to a folder and through the engine's own loader,
warm-up and core, whose greedy answers in a changing batch are compared with mlx-lm's
`generate_step` for each prompt alone.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import tiny_configs
from fastmlx.daemon.engine import loader
from fastmlx.daemon.engine.core import EngineCore
from fastmlx.daemon.engine.kv.prefix_cache import PrefixCache
from fastmlx.daemon.engine.reuse import Reuse
from fastmlx.daemon.engine.runners.text import TextRunner
from fastmlx.daemon.engine.runners.warmup import Warmed, warm_up
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate
from finding import Finding
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import make_prompt_cache

LENGTHS = (2, 150, 1, 40, 17, 90)  # tokens of the prompts, in the order in which they come
NUM_TOKENS = 12
STEP_TOKENS = 70  # so that long prompts come in chunks
# Two logits closer than this are a tie: which of them wins depends on the order of summation.
TIE = 2e-3

PACKED = ("scales", "biases")  # what belongs to weights of few bits


def probe(file: str) -> Finding:
    """Finds out everything about one file. Raises nothing that a model file may raise."""
    finding = Finding(file)
    begin = time.perf_counter()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            _probe(finding)
    except SystemExit:
        finding.reason = f"it ends the process: {' '.join(printed.getvalue().split())}"
    except Exception as error:  # a model file may raise anything
        finding.reason = "; ".join(filter(None, (finding.reason, _sentence(error))))
    finding.seconds = round(time.perf_counter() - begin, 2)
    return finding


def _probe(finding: Finding) -> None:
    module = importlib.import_module(f"mlx_lm.models.{finding.file}")
    if not hasattr(module, "Model") or not hasattr(module, "ModelArgs"):
        finding.model = False
        return
    finding.text_part = finding.file in tiny_configs.TEXT_PARTS
    with tempfile.TemporaryDirectory() as folder:
        write(module, finding.file, Path(folder))
        model: Any = loader.load(Path(folder), (), None, lambda stage: None).model
    finding.loads = True
    runner = TextRunner(model)
    warmed = warm_up(runner)
    finding.prefix = _prefix(runner, warmed)
    finding.reason = warmed.note or ""
    if warmed.batches:
        finding.batches = "one forward" if runner.together else "group by group"
    else:
        finding.batches = "row by row"
    finding.mixes = warmed.batches and runner.mixes
    finding.packs = runner.pack_limit > 0
    fault = _inexact(finding, runner, warmed.vocab_size)
    finding.exact = fault is None
    if not _remembers(model):
        fault = "; ".join(filter(None, (fault, "answers do not depend on early tokens")))
    if fault:
        finding.reason = "; ".join(filter(None, (finding.reason, fault)))


# ---- the model


def write(module: Any, file: str, folder: Path) -> None:
    """Writes config.json and model.safetensors of a tiny model of the module."""
    config = tiny_configs.config_of(file, tiny_configs.fields_of(module.ModelArgs))
    mx.random.seed(0)  # some classes draw parameters themselves
    # A copy: some classes change the lists and dicts that they are given.
    model = module.Model(module.ModelArgs.from_dict(json.loads(json.dumps(config))))
    drawn = [
        (name, _draw(name, value, mx.random.key(number)))
        for number, (name, value) in enumerate(tree_flatten(model.parameters()))
    ]
    model.update(tree_unflatten(drawn))
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _draw(name: str, value: Any, key: mx.array) -> mx.array:
    """Random numbers in the place of one parameter: weights N(0, 2 / fan_in), so that logits are
    not flat; norms about one, biases about zero."""
    if not mx.issubdtype(value.dtype, mx.floating):
        return mx.random.randint(0, 2**31 - 1, value.shape, key=key).astype(value.dtype)
    noise = mx.random.normal(value.shape, key=key)
    if name.endswith("signs"):
        drawn = mx.sign(noise)
    elif name.endswith("A_log"):  # slow decay: a lost history must show
        drawn = mx.log(mx.linspace(0.02, 0.3, value.size)).reshape(value.shape)
    elif name.endswith("bias") and "w_lora" in name:  # likewise, of rwkv7
        drawn = noise - 4
    elif name.endswith("sinks"):
        drawn = noise
    elif value.size == (value.shape[-1] if value.ndim else 1) or name.endswith(PACKED):
        drawn = value + 0.05 * noise
    else:
        # Last axis in: Linear and Embedding (out, in), experts (expert, out, in); convolutions
        # are (out, taps, in).
        taps = value.shape[-2] if "conv" in name and value.ndim == 3 else 1
        drawn = math.sqrt(2 / (value.shape[-1] * taps)) * noise
    return drawn.astype(value.dtype)


# ---- what it can do


def _prompt(length: int) -> list[int]:
    rng = random.Random(length)
    return [rng.randrange(1, tiny_configs.VOCAB_SIZE) for _ in range(length)]


def _inexact(finding: Finding, runner: TextRunner, vocab_size: int) -> str | None:
    """How the engine's answers differ from mlx-lm's, or None. Joining at different steps, then all
    at once."""
    prompts = [_prompt(length) for length in LENGTHS]
    expected = [alone(runner.model, prompt) for prompt in prompts]
    for join_every in (2, 0):
        answers = _batched(runner, prompts, vocab_size, join_every)
        for prompt, answer, (tokens, margins) in zip(prompts, answers, expected, strict=True):
            same = next((i for i in range(NUM_TOKENS) if answer[i] != tokens[i]), NUM_TOKENS)
            finding.compared += same
            if same < NUM_TOKENS and margins[same] >= TIE:
                how = f"joining every {join_every} steps" if join_every else "joining at once"
                return (
                    f"{how}, token {same} of the prompt of {len(prompt)} differs"
                    f" (won by {margins[same]:.3g})"
                )
    return None


def _batched(
    runner: TextRunner, prompts: list[list[int]], vocab_size: int, join_every: int
) -> list[list[int]]:
    core = EngineCore(
        runner, vocab_size=vocab_size, max_concurrent=len(prompts), step_tokens=STEP_TOKENS
    )
    sampling = Sampling(temperature=0.0, max_tokens=NUM_TOKENS)
    waiting = [Generate(i, prompt, sampling=sampling) for i, prompt in enumerate(prompts)]
    answers: list[list[int]] = [[] for _ in prompts]
    step = 0
    while waiting or not core.idle:
        if waiting and (not join_every or step % join_every == 0):
            for _ in range(1 if join_every else len(waiting)):
                core.add(waiting.pop(0))
        for row in core.step():
            answers[row.id] += row.tokens
        if core.rejected:
            raise RuntimeError(core.rejected[0].message)
        step += 1
    core.check()
    return answers


def alone(model: Any, prompt: list[int]) -> tuple[list[int], list[float]]:
    """mlx-lm's own greedy answer: tokens, and by how much each won."""
    from mlx_lm.generate import generate_step

    tokens: list[int] = []
    margins: list[float] = []
    for token, logprobs in generate_step(mx.array(prompt), model, max_tokens=NUM_TOKENS):
        top: Any = mx.topk(logprobs, 2).tolist()
        tokens.append(int(token))
        margins.append(abs(top[0] - top[1]))
    return tokens, margins


def _prefix(runner: TextRunner, warmed: Warmed) -> str:
    """How a prompt goes on from what the engine kept of another with the same beginning: from any
    token, or from a checkpoint. Tried with a second turn and with one that diverges, and compared
    with mlx-lm's answers."""
    if not warmed.restores:
        return "no"
    cache = PrefixCache(runner.new_cache(), 1 << 30)
    core = EngineCore(
        runner,
        vocab_size=warmed.vocab_size,
        max_concurrent=1,
        step_tokens=STEP_TOKENS,
        reuse=Reuse(cache, interval=16),
    )
    shared, answer = _prompt(40), []
    first = [*shared, *_prompt(9)]
    for number in range(3):
        turn = (first, [*first, *answer, *_prompt(7)], [*shared, *_prompt(11)])[number]
        core.add(Generate(number, turn, sampling=Sampling(temperature=0.0, max_tokens=NUM_TOKENS)))
        rows = [row for _ in iter(lambda: core.idle, True) for row in core.step()]
        core.check()
        answer = [token for row in rows for token in row.tokens]
        expected, margins = alone(runner.model, turn)
        wrong = (i for i in range(NUM_TOKENS) if answer[i] != expected[i])
        if margins[next(wrong, 0)] >= TIE and answer != expected:
            return "no"
        if number and not rows[0].cached_tokens:
            return "no"
    return "checkpoint" if cache.has_states else "any token"


def _remembers(model: Any) -> bool:
    """Whether the first tokens of a prompt change what comes after it, by far more than rounding.
    Otherwise an engine that loses them would still be exact."""
    prompt = _prompt(40)
    other = [*_prompt(8), *prompt[8:]]
    logits = [model(mx.array([p]), cache=make_prompt_cache(model))[0, -1] for p in (prompt, other)]
    chosen = mx.isfinite(logits[0])
    difference = mx.abs(mx.where(chosen, logits[0] - logits[1], 0.0))
    return bool((mx.max(difference) > 5 * TIE).item())


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"
