"""What does a prompt cost whose beginning was computed before? In our engine, in process.

Turns: a conversation comes back with its answer and 50 new tokens. The time to its first token is
compared with that of the same tokens computed whole: from memory, and from disk after the engine
was closed and another one opened. Crowd: requests with one long beginning come at once, and again
one after the other while those before them run; the tokens computed are compared with one prefill
and the rests, the largest number of bytes held for keys, values and prefixes with those of one such
prompt and the rests. A rest is a request's own tokens and, where the model has windows or recurrent
states, two of them, as no other request has the same: the one that runs and the one that is kept of
its prompt. Session: an agent's conversation of 40 turns, each sent whole; the share of its prompts'
tokens that came from the cache. It is made up. With --captures FOLDER (see agents.py) there are
only sessions, made of captured requests, which go through the dialect, template and tokenizer;
their prompts are long and nothing is timed, so that the model has few and narrow layers. With
--only servers: the same two turns through HTTP, of our daemon and of mlx_lm.server.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import captured_session
import models
import second_turn
import tiny
from agent_session import Replayed, Session, replay, replay_prompts
from fastmlx.config.settings import ModelSpec
from fastmlx.daemon.engine import loader
from fastmlx.daemon.engine.core import EngineCore
from fastmlx.daemon.engine.kv.prefix_tree import PrefixTree
from fastmlx.daemon.engine.prefixes import build, salts_of
from fastmlx.daemon.engine.runners.text import TextRunner
from fastmlx.daemon.engine.runners.warmup import warm_up
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate, Load, TokenRow
from fastmlx.daemon.text.model_text import ModelText
from report import Report, arguments

HOT_BYTES, COLD_BYTES = 4 << 30, 8 << 30
ANSWER, NEW = 32, 50  # tokens
GREEDY = Sampling(temperature=0.0, max_tokens=ANSWER)
STATES = 2  # of a request: the one that runs and the one that is kept of its prompt
APART = 2  # steps between requests that come one after the other


class Size(NamedTuple):
    prompt: int  # tokens of the first turn
    shared: int  # that the crowd has in common
    crowd: int  # requests


FULL, QUICK = Size(8192, 4096, 16), Size(300, 260, 4)
FULL_SESSION = Session(40, 4000, 60, (30, 90), (70, 310))
QUICK_SESSION = Session(6, 300, 20, (4, 8), (10, 30))
KINDS = ("full attention", "hybrid", "sliding window")


def folder_of(kind: str, *, size: str) -> Path:
    """A model with this kind of cache, of one of the sizes of bench/models.py."""
    root = Path(tempfile.gettempdir()) / "fastmlx-bench-models"
    fields, wide = models.SIZES[size], size in ("small", "medium")
    if kind == "full attention":
        return tiny.build("qwen3", root, endless=True, **fields)
    if size == "narrow":  # a layer of each kind
        fields = {**fields, "num_hidden_layers": 2}
    if kind == "sliding window":
        window = {"sliding_window": 512, "sliding_window_pattern": 3 if wide else 2}
        window = {} if size == "smallest" else window
        return tiny.build("gemma3_text", root, endless=True, **{**fields, **window})
    text = {**tiny.config_of("qwen3_5")["text_config"], **fields}
    if wide:
        text |= {"linear_num_value_heads": 8, "linear_num_key_heads": 8}
        text |= {"linear_key_head_dim": 64, "linear_value_head_dim": 64}
    return tiny.build(
        "qwen3_5", root, endless=True, vocab_size=fields["vocab_size"], text_config=text
    )


def core_over(folder: Path, cache: Path | None, *, slots: int = 1) -> EngineCore:
    model = loader.load(folder, (), None, lambda stage: None).model
    runner = TextRunner(model)
    warmed = warm_up(runner)
    directory = None if cache is None else str(cache)
    load = Load("bench", str(folder), hot_bytes=HOT_BYTES, cache_directory=directory)
    if cache is not None:
        load = Load(
            "bench",
            str(folder),
            hot_bytes=HOT_BYTES,
            cache_directory=directory,
            cold_bytes=COLD_BYTES,
        )
    core = EngineCore(
        runner,
        vocab_size=warmed.vocab_size,
        max_concurrent=slots,
        step_tokens=512,
        reuse=build(load, runner, salts_of(load)),
    )
    answer(core, words(0, 600, warmed.vocab_size))  # the first of everything is not timed
    assert core.reuse is not None
    core.reuse.clear(hot=True, cold=True)
    return core


def words(seed: int, count: int, vocab_size: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(10, vocab_size) for _ in range(count)]


def answer(core: EngineCore, prompt: list[int]) -> tuple[float, list[TokenRow]]:
    """Seconds to the first token, and the rows."""
    begin, first, rows = time.perf_counter(), 0.0, []
    core.add(Generate(1, prompt, GREEDY))
    while not core.idle:
        got = core.step()
        if got and not rows:
            first = time.perf_counter() - begin
        rows += got
    core.check()
    return first, rows


def turns(report: Report, kind: str, size: Size, *, quick: bool) -> None:
    folder = folder_of(kind, size="smallest" if quick else "medium")
    with tempfile.TemporaryDirectory() as cache:
        core = core_over(folder, Path(cache))
        reuse: Any = core.reuse
        vocab_size = core._vocab_size
        conversation = words(1, size.prompt, vocab_size)
        cold_s, rows = answer(core, conversation)
        conversation += [token for row in rows for token in row.tokens]
        second = [*conversation, *words(2, NEW, vocab_size)]
        hot_s, rows = answer(core, second)
        hot_tokens = rows[0].cached_tokens
        reuse.close(60.0)
        again = core_over(folder, Path(cache))
        # Another question, so that nothing of the second turn is on disk.
        disk_s, other = answer(again, [*conversation, *words(4, NEW, vocab_size)])
        reuse = again.reuse
        reuse.close(60.0)
    kept = other[0].cached_tokens
    report.add(kind, "from memory", hot_tokens, len(second), hot_s * 1e3, hot_s / cold_s)
    report.add(kind, "from disk", kept, len(second), disk_s * 1e3, disk_s / cold_s)


def crowd(report: Report, kind: str, size: Size, *, quick: bool) -> None:
    core = core_over(
        folder_of(kind, size="smallest" if quick else "medium"), None, slots=size.crowd
    )
    reuse: Any = core.reuse
    shared = words(3, size.shared, core._vocab_size)
    core.prefiller.tokens = 0
    answer(core, shared)
    one, one_bytes = core.prompt_tokens, reuse.cache.nbytes
    alone_bytes = one_bytes + size.crowd * rest_bytes(reuse.cache.tree)
    for when, apart in (("at once", 0), (f"{APART} steps apart", APART)):
        reuse.clear(hot=True, cold=True)
        core.prefiller.tokens = most = 0
        waiting = [
            Generate(number, [*shared, *words(10 + number, NEW, core._vocab_size)], GREEDY)
            for number in range(size.crowd)
        ]
        step = 0
        while waiting or not core.idle:
            while waiting and (not apart or step % apart == 0):
                core.add(waiting.pop(0))
                if apart:
                    break
            core.step()
            step += 1
            most = max(most, core.kv_bytes + reuse.cache.nbytes)
        core.check()
        report.notes.append(
            f"{kind}: {size.crowd} requests with {size.shared} common tokens, {when}: prefill "
            f"÷ (one + rests) {core.prompt_tokens / (one + size.crowd * NEW):.2f}, "
            f"KV bytes ÷ (one + rests) {most / alone_bytes:.2f}"
        )


def rest_bytes(tree: PrefixTree) -> float:
    """What a request needs beyond what it has in common with others, by what the one took that is
    in the tree."""
    nodes = list(tree.nodes())
    spans = sum(node.span.nbytes for node in nodes if node.span is not None)
    states = [node.checkpoint.nbytes for node in nodes if node.checkpoint is not None]
    per_token = spans / sum(len(node.tokens) for node in nodes)
    return (NEW + ANSWER) * per_token + STATES * max(states, default=0)


def session(report: Report, kind: str, *, quick: bool) -> None:
    core = core_over(folder_of(kind, size="smallest" if quick else "small"), None)
    shape = QUICK_SESSION if quick else FULL_SESSION
    _note(report, f"{kind}: an agent's session", shape.turns, replay(core, shape, core._vocab_size))


def captured(report: Report, kinds: Sequence[str], folder: Path, *, quick: bool) -> None:
    """The same of each client in the folder. The model has as many tokens as the demo model."""
    spec = ModelSpec(path="builtin:demo")
    text = ModelText.load(resolve(spec.path, spec.revision), spec)
    ends = tuple(text.tokenizer.eos_token_ids)
    num_turns = (QUICK_SESSION if quick else FULL_SESSION).turns
    for client, requests in captured_session.sessions(folder, num_turns):
        prompts = captured_session.prompts(text, requests)
        for kind in kinds:
            core = core_over(folder_of(kind, size="narrow"), None)
            done = replay_prompts(core, prompts, ends)
            _note(report, f"{kind}: a captured session of {client}", num_turns, done)


def _note(report: Report, what: str, num_turns: int, done: Replayed) -> None:
    report.notes.append(
        f"{what} of {num_turns} turns and in the end {done.last} tokens: of {done.prompt_tokens} "
        f"prompt tokens after the first turn from the cache ÷ all "
        f"{done.cached_tokens / done.prompt_tokens:.3f} ({done.nodes} nodes in the tree)"
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], help="of cache; default: all")
    parser.add_argument("--captures", type=Path, help="a folder, for sessions made of these")
    parser.add_argument("--only", choices=("turns", "crowd", "session", "servers"))
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    report = Report(
        f"Second turn of a conversation of {size.prompt} tokens",
        ("cache", "restored", "tokens kept", "of", "TTFT ms", "TTFT ÷ computed whole"),
        BLAS,
        options.quick,
    )
    if options.only == "servers":
        second_turn.compare(report, size.prompt, NEW, quick=options.quick)
    kinds = options.kinds or KINDS
    if options.captures is not None:
        captured(report, kinds, options.captures, quick=options.quick)
        kinds = ()
    for kind in kinds:
        if options.only in (None, "turns"):
            turns(report, kind, size, quick=options.quick)
        if options.only in (None, "crowd"):
            crowd(report, kind, size, quick=options.quick)
        if options.only in (None, "session") and kind != "sliding window":
            session(report, kind, quick=options.quick)
    report.finish(options.json)


if __name__ == "__main__":
    main()
