"""Everything at once: what each part promises alone must hold while all others are at work.

Requests of every kind come, go, wait, are preempted, aborted and replayed, in memory that is short,
over a cache that is evicted, cleared, written to disk and read again. Each must answer as it does
alone in an engine that has none of this. FASTMLX_STRESS_S=300 tries other seeds for so many
seconds; FASTMLX_STRESS_SEED=n tries that one alone.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from engines import TIE, tokens_of
from fastmlx.daemon.engine import loader, reuse
from fastmlx.daemon.engine.core import EngineCore
from fastmlx.daemon.engine.grammar import GrammarCompiler
from fastmlx.daemon.engine.kv import bases, prefix_cache, ragged
from fastmlx.daemon.engine.kv.cold.store import ColdStore
from fastmlx.daemon.engine.kv.cold_tier import ColdTier
from fastmlx.daemon.engine.kv.payload import has_spans
from fastmlx.daemon.engine.ranks.lockstep import Lockstep
from fastmlx.daemon.engine.runners.text import TextRunner
from fastmlx.daemon.engine.runners.warmup import warm_up
from fastmlx.daemon.protocol.grammar import Grammar
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import CacheLimits, Generate, NamedAdapter, TokenRow
from tiny_adapters import write_adapter

ARCHITECTURES = ("qwen3", "gemma3_text", "qwen3_5", "deepseek_v3", "mamba2")
NUM_REQUESTS = 10 if "FASTMLX_STRESS_S" not in os.environ else 20
LEAST_BASE = 64  # of bases: real ones are too long for a tiny model
BLOCK = 32  # of the cold tier, for the same reason
COLD_BYTES = 1 << 26
END = 3  # closes a message
GRAMMARS = (
    Grammar("regex", "[a-z]{3,9}(yes|no)"),
    Grammar("json_schema", '{"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}'),
    Grammar("lark", 'start: ("x" | "yz")+ "."'),
)

TinyModel = Callable[..., Path]


class Times(Lockstep):
    """Steps take as long as the dice say, so that a seed always paces alike."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._now_s = 0.0

    def agree(self, value: float) -> float:
        if isinstance(value, bool):
            return value
        self._now_s += self._rng.choice((0.001, 0.002, 0.01, 0.1))
        return self._now_s


class Model(NamedTuple):
    folder: Path
    loaded: Any
    num_adapters: int

    def core(self, *, times: Lockstep | None = None, **options: Any) -> EngineCore:
        runner = TextRunner(self.loaded.model, self.loaded.selection, times)
        warmed = warm_up(runner)
        grammars = GrammarCompiler(self.folder, warmed.vocab_size)
        return EngineCore(runner, vocab_size=warmed.vocab_size, grammars=grammars, **options)


@dataclass
class Asked:
    """A request and what came of it."""

    request: Generate
    abort_at: int | None  # step after which it is aborted
    rows: list[TokenRow] = field(default_factory=list)
    finish: str | None = None
    aborted: bool = False

    @property
    def tokens(self) -> list[int]:
        return [*self.request.output, *tokens_of(self.rows)]


class Scene:
    """One seed: an engine with short memory, and who comes to it."""

    def __init__(self, model: Model, seed: int, cold: Path) -> None:
        self.model = model
        self.rng = random.Random(seed)
        self.cold = cold
        self.asked: dict[int, Asked] = {}
        self.step = 0
        self.wanted = NUM_REQUESTS
        self.on_disk = self.rng.random() < 0.6
        self.hot_bytes = self.rng.choice((60_000, 400_000, 1_000_000, 1 << 28))
        self.options: dict[str, Any] = {
            "max_concurrent": self.rng.randint(2, 8),
            "step_tokens": self.rng.choice((16, 64, 200, 512)),
            "max_kv_tokens": self.rng.choice((None, 320, 320, 500)),
        }
        self.shared = [
            [*self.words(self.rng.randint(10, 150)), END] for _ in range(self.rng.randint(1, 3))
        ]
        self.core = self.start()

    def start(self) -> EngineCore:
        core = self.model.core(times=Times(self.rng), **self.options, reuse=self.reuse())
        core.pacer.max_gap_s = self.rng.choice((None, 0.005, 0.5))
        return core

    def reuse(self) -> reuse.Reuse:
        runner = TextRunner(self.model.loaded.model)
        empty = runner.new_cache()
        tier = None
        if self.on_disk:
            tier = ColdTier(
                ColdStore(self.cold, COLD_BYTES), "m", spans=has_spans(empty), block=BLOCK
            )
        cache = prefix_cache.PrefixCache(empty, self.hot_bytes, cold=tier)
        return reuse.Reuse(cache, interval=32, least_shared=self.rng.choice((32, 128)))

    # ---- who comes

    def words(self, count: int) -> list[int]:
        return [self.rng.randrange(10, 1000) for _ in range(count)]

    def arrive(self) -> None:
        """One request, or several with one prompt."""
        rng = self.rng
        done = [each for each in self.asked.values() if each.finish is not None]
        output: list[int] = []
        sampling, grammar, adapter = None, None, rng.randint(0, self.model.num_adapters)
        kind = rng.random()
        if done and kind < 0.35:  # the next turn of a conversation
            before = rng.choice(done)
            prompt = [*before.request.prompt, *before.tokens, END, *self.words(rng.randint(1, 30))]
            adapter = before.request.adapter
        elif done and kind < 0.45:  # a replay
            before = rng.choice(done)
            prompt, adapter = before.request.prompt, before.request.adapter
            output = before.tokens[: rng.randrange(len(before.tokens))]
            sampling, grammar = before.request.sampling, before.request.grammar
        else:
            own = self.words(rng.choice((0, 1, 9, 30, 140)))
            prompt = [*rng.choice(self.shared), *own] if rng.random() < 0.8 else own or [7]
        prompt = prompt[:240]
        if sampling is None and rng.random() < 0.25:
            grammar = rng.choice(GRAMMARS)
        for _ in range(rng.choice((1, 1, 1, 2, 3)) if sampling is None else 1):
            number = len(self.asked)
            request = Generate(
                number, prompt, sampling or self.sampling(grammar), output, adapter, grammar
            )
            lives = rng.randint(0, 30) if rng.random() < 0.15 else None
            self.asked[number] = Asked(request, None if lives is None else self.step + lives)
            self.core.add(request)

    def sampling(self, grammar: Grammar | None) -> Sampling:
        rng = self.rng
        ends = (END,) if grammar is not None or rng.random() < 0.7 else ()
        fields: dict[str, Any] = {"max_tokens": rng.choice((1, 5, 20, 70)), "stop_token_ids": ends}
        fields["temperature"] = rng.choice((0.0, 0.0, 0.8, 1.2))
        fields["seed"] = rng.randrange(1 << 40)
        if rng.random() < 0.3:
            fields |= {"top_p": rng.choice((0.5, 0.95)), "top_k": rng.choice((0, 5, 40))}
        if rng.random() < 0.3:
            fields |= {"repetition_penalty": 1.3, "frequency_penalty": rng.choice((0.0, 0.4))}
        if rng.random() < 0.2:
            fields |= {"logit_bias": {rng.randrange(10, 1000): 3.0, END: 2.0}, "min_p": 0.01}
        if rng.random() < 0.3:
            fields["min_tokens"] = rng.randint(1, fields["max_tokens"])
        if rng.random() < 0.2:
            fields["top_logprobs"] = rng.randint(0, 3)
        return Sampling(**fields)

    # ---- what happens

    def play(self) -> None:
        """Until everybody who came has an answer; the engine is started again on the way."""
        restart = self.wanted // 2 if self.rng.random() < 0.5 else None
        while True:
            while len(self.asked) < self.wanted and self.rng.random() < 0.3:
                self.arrive()
            if self.core.idle:
                self.rest()
                if len(self.asked) >= self.wanted:
                    return
                if restart is not None and len(self.asked) >= restart:
                    restart = None
                    self.close()
                    self.core = self.start()
                continue
            self.disturb()
            self.advance()

    def advance(self) -> None:
        for row in self.core.step():
            each = self.asked[row.id]
            assert not each.aborted, "a token of a request that was aborted"
            assert each.finish is None, "a token of a request that has ended"
            assert bool(row.logprobs) == (each.request.sampling.top_logprobs >= 0)
            each.rows.append(row)
            each.finish = row.finish
        assert not self.core.rejected, self.core.rejected
        scheduler = self.core.scheduler
        members = scheduler._members()
        held = sum(len(s.prompt) + s.num_sampled for s in members if s in scheduler.running)
        held += sum(s.num_prefilled for s in scheduler.prefilling)
        limit = scheduler.max_kv_tokens
        assert limit is None or held <= limit + len(members), "more is held than there is room for"
        self.step += 1
        assert self.step < 20_000, "the engine does not come to an end"

    def disturb(self) -> None:
        for number, each in self.asked.items():
            if each.abort_at == self.step and each.finish is None:
                self.core.abort(number)
                each.aborted = True
        kept, dice = self.core.reuse, self.rng.random()
        assert kept is not None
        if dice < 0.01:
            kept.clear(hot=self.rng.random() < 0.7, cold=self.rng.random() < 0.5)
        elif dice < 0.02:
            kept.limit(CacheLimits(self.rng.choice((0, 1, self.hot_bytes)), COLD_BYTES))
        elif dice < 0.03:
            kept.limit(CacheLimits(self.hot_bytes, COLD_BYTES))

    def rest(self) -> None:
        """Nothing runs: the books must balance."""
        core, kept = self.core, self.core.reuse
        assert kept is not None
        core.check()
        kept.tend()
        core.check()
        assert (core.kv_bytes, core.kv_tokens, core.num_running, core.num_waiting) == (0, 0, 0, 0)
        gc.collect()  # bases are let go of when the last row is
        assert not any(node.users for node in kept.cache.tree.nodes()), "somebody still holds on"
        assert kept.cache.nbytes <= kept.cache.hot_bytes or not kept.cache.tree.nbytes
        for number, each in self.asked.items():
            assert each.aborted or each.finish is not None, f"request {number} was forgotten"

    def close(self) -> None:
        kept = self.core.reuse
        assert kept is not None
        kept.close(10.0)
        kept.clear(hot=True, cold=False)
        assert kept.cache.nbytes == 0, "something cannot be forgotten"

    # ---- and what must have come of it

    def compare(self, plain: EngineCore) -> None:
        for number, each in self.asked.items():
            request = each.request
            if each.aborted and not each.rows:
                continue
            plain.add(Generate(0, *request_fields(request)))
            rows: list[TokenRow] = []
            while not plain.idle:
                rows += plain.step()
            assert not plain.rejected
            got, want = tokens_of(each.rows), tokens_of(rows)
            if each.aborted:
                want = want[: len(got)]
            at = next((i for i, (a, b) in enumerate(zip(got, want, strict=False)) if a != b), None)
            if at is None:
                assert len(got) == len(want), f"request {number}: {request}"
                assert each.aborted or each.finish == rows[-1].finish
                continue
            told = f"token {at} of {number}: {got[at]}, alone {want[at]}; {got} {want} {request}"
            assert is_tie(plain, request, want[:at], got[at], want[at]), told


def request_fields(request: Generate) -> tuple[Any, ...]:
    return request.prompt, request.sampling, request.output, request.adapter, request.grammar


def is_tie(plain: EngineCore, request: Generate, before: list[int], ours: int, theirs: int) -> bool:
    """Whether a float error decides between the two tokens: whatever the sampling, a nudge to the
    logits of both gives ours, too."""
    decode = plain._runner.decode
    prompt, sampling, output, *rest = request_fields(request)

    def nudged(tokens: Any) -> Any:
        logits = decode(tokens)
        return logits.at[0, ours].add(TIE).at[0, theirs].add(-TIE)

    plain._runner.decode = nudged
    try:
        plain.add(Generate(0, prompt, sampling, [*output, *before], *rest))
        rows: list[TokenRow] = []
        while not rows:
            rows = plain.step()
        plain.abort(0)
        while not plain.idle:
            plain.step()
    finally:
        plain._runner.decode = decode
    return rows[0].tokens[0] == ours


@pytest.fixture(scope="module")
def with_adapters(
    tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Model]:
    made: dict[str, Model] = {}

    def model(arch: str) -> Model:
        if arch not in made:
            folder = tiny_model(arch)
            named = []
            if arch != "mamba2":
                at = tmp_path_factory.mktemp("adapters")
                for seed in (1, 2):
                    path = write_adapter(folder, at / str(seed), seed=seed, scale=10.0)
                    named.append(NamedAdapter(path.name, str(path)))
            loaded = loader.load(folder, (), None, lambda stage: None, named)
            made[arch] = Model(folder, loaded, len(named))
        return made[arch]

    return model


def seeds() -> Iterator[int]:
    """One; or as many as there is time for."""
    if "FASTMLX_STRESS_SEED" in os.environ:
        yield int(os.environ["FASTMLX_STRESS_SEED"])
        return
    until_s = time.monotonic() + float(os.environ.get("FASTMLX_STRESS_S", 0)) / len(ARCHITECTURES)
    for seed in itertools.count(int(os.environ.get("FASTMLX_STRESS_FROM", 0))):
        yield seed
        if time.monotonic() > until_s:
            return


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_whatever_happens_together_everybody_is_answered_as_if_alone(
    arch: str,
    with_adapters: Callable[..., Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (bases, reuse):
        monkeypatch.setattr(module, "LEAST_BASE", LEAST_BASE)
    monkeypatch.setattr(reuse, "LEAST_FETCHED", BLOCK)
    monkeypatch.setattr(ragged, "MOST_COPIED", 0)
    model = with_adapters(arch)
    plain = model.core(max_concurrent=1, step_tokens=512)
    for seed in seeds():
        threads = set(threading.enumerate())
        files = len(list(Path("/dev/fd").iterdir()))
        print("seed", seed)  # shown where it fails
        scene = Scene(model, seed, tmp_path / str(seed))
        scene.play()
        scene.close()
        scene.compare(plain)
        # Those that serve all cores of a process stay.
        left = {thread.name for thread in threading.enumerate() if thread not in threads}
        assert left <= {"grammar", "masks"}
        assert len(list(Path("/dev/fd").iterdir())) <= files, "files are left open"
