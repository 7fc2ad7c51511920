"""The engine without its socket: requests in, token rows out, one step at a time.

    leave → plan → decode (with a chunk of a long prompt) → read → prefill → join

Step n+1 is submitted before the tokens of step n are read, so Python, detokenising and the
socket work while the device computes. A row that turns out to have ended at step n was computed
once more for nothing; rows that end by max_tokens are foreseen and were not. Where a row has a
grammar, the tokens of n are read and the masks made while the device computes the logits of n+1.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import mlx.core as mx

from ..protocol.wire import Generate, Prefill, Rejected, TokenRow
from .answers import fault_of, too_long
from .budget import GUEST_TOKENS
from .compiling import Compiling
from .cost import Recent
from .grammar import GrammarCompiler
from .grammar_masks import GrammarMasks
from .logits import Allowed
from .pacer import Pacer
from .prefiller import Prefiller
from .reuse import Reuse
from .runners.text import TextRunner
from .sampler import Sampled, Sampler
from .scheduler import Plan, Scheduler
from .sequence import Sequence, Status
from .share import MemoryShare

log = logging.getLogger(__name__)

# With nothing to compute but grammars, a step waits so long for one.
GRAMMAR_WAIT_S = 0.005


class _Submitted(NamedTuple):
    """A step whose tokens are being computed."""

    rows: list[Sequence]
    sampled: Sampled


class EngineCore:
    """Continuous batching over one runner. Not thread-safe: everything on the MLX thread."""

    def __init__(
        self,
        runner: TextRunner,
        *,
        vocab_size: int,
        max_concurrent: int,
        step_tokens: int,
        max_kv_tokens: int | None = None,
        grammars: GrammarCompiler | None = None,
        reuse: Reuse | None = None,
    ) -> None:
        self.scheduler = Scheduler(
            max_concurrent=max_concurrent,
            step_tokens=step_tokens,
            max_kv_tokens=max_kv_tokens,
            sharing=reuse.sharing if reuse is not None else None,
        )
        self.reuse = reuse  # None: nothing is kept for the prompts to come
        self.share: MemoryShare | None = None  # None: no limit is ever told
        self.rejected: list[Rejected] = []  # taken by the caller after each step
        self.steps = 0
        self.output_tokens = 0
        self._runner = runner
        self._vocab_size = vocab_size
        self._lockstep = runner.lockstep
        self._sampler = Sampler(vocab_size, runner.lockstep.first)
        self._compiling = (
            Compiling(grammars, together=not runner.lockstep.alone)
            if grammars is not None
            else None
        )
        self._masks = GrammarMasks(together=not runner.lockstep.alone)
        self._sequences: dict[int, Sequence] = {}
        self._recent = Recent()
        self.prefiller = Prefiller(runner, self.scheduler, reuse, self._recent, self._refuse)
        if reuse is not None:
            # Steps are counted alike in every rank, unlike seconds.
            caches = self.prefiller.caches
            reuse.begin(runner, self.scheduler, caches, lambda: self.steps, self._reorder)
        self._submitted: _Submitted | None = None
        self.pacer = Pacer(GUEST_TOKENS if runner.mixes else 0)
        self._read_at_s: float | None = None  # when the last step's tokens were read
        self._inputs: mx.array | None = None  # int [running rows]: the next decode's input

    def add(self, request: Generate) -> None:
        """Queues a request. One that cannot run is put into `rejected` instead."""
        fault = fault_of(
            request,
            vocab_size=self._vocab_size,
            num_adapters=self._runner.num_adapters,
            max_kv_tokens=self.scheduler.kv_ceiling,
            grammars=self._compiling is not None,
        )
        if fault is not None:
            self.rejected.append(Rejected(request.id, fault, bad_request=True))
            return
        log.debug(
            "sequence %d: %d prompt tokens, %d of output",
            request.id,
            len(request.prompt),
            len(request.output),
            extra={"request": request.request},
        )
        sequence = Sequence.of(request)
        self._sequences[sequence.id] = sequence
        if request.grammar is not None and self._compiling is not None:
            self._compiling.start(sequence, request.grammar)
        else:
            self._queue(sequence)

    def _queue(self, sequence: Sequence) -> None:
        known = 0
        if self.reuse is not None:
            self.reuse.prepare(sequence)
            known = self.reuse.known(sequence)
        self.scheduler.add(sequence, known)

    def abort(self, request_id: int) -> None:
        """Forgets the request; its row leaves before the next step. Unknown ids are ignored."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is None:
            return
        if self.reuse is not None:
            self.reuse.abort(sequence)
        self.prefiller.drop(request_id)
        if self._compiling is None or not self._compiling.drop(request_id):
            self.scheduler.drop(sequence)
        sequence.status = Status.FINISHED

    @property
    def idle(self) -> bool:
        return self.scheduler.idle and self._submitted is None and not self._compiling

    def step(self, tell: Callable[[list[TokenRow]], None] | None = None) -> list[TokenRow]:
        """Runs one step and returns the tokens of the step before. `tell` is given them, too, as
        soon as they are read: submitting prompts to a busy device may take as long as they do."""
        if self._compiling:
            self._take_compiled(self._compiling)
        self._leave()
        self.scheduler.admit()
        now_s = time.perf_counter()
        for sequence in self.scheduler.prefilling:
            sequence.admitted_s = sequence.admitted_s or now_s
        if self.reuse is not None:
            self.reuse.take_up()
        plan = self._plan()
        previous = self._submitted
        self._recent.begin()
        logits = self._decode(plan)
        grammars = logits is not None and any(row.grammar for row in self.scheduler.running)
        if grammars:
            mx.async_eval(logits)
        else:
            self._submitted = self._sample(logits)
        rows: list[TokenRow] = []
        if previous is not None:
            rows = self._read(previous)
            self._pace()
        else:
            self._read_at_s = None
        if grammars:
            self._submitted = self._sample(logits, self._allowed())
        if tell is not None and rows:
            tell(rows)
        self._prefill(plan)
        self.steps += 1
        return rows

    def _plan(self) -> Plan:
        tokens, beginning = self.scheduler.step_prefill, self.scheduler.beginning
        budget = self.pacer.budget(tokens, beginning=beginning)
        return self.scheduler.plan(budget, unread=self._submitted is not None)

    def _pace(self) -> None:
        """Tells the pacer how long it was since the last tokens came, and what was computed."""
        now_s = self._lockstep.agree(time.perf_counter())
        if self._read_at_s is not None:
            self.pacer.observe(now_s - self._read_at_s, self._recent.mean())
        self._read_at_s = now_s

    def _leave(self) -> None:
        """Rows that ended, or whose place in memory an older one needs, leave the batch; where
        somebody waits for memory, it gives back what it has for more rows than there are."""
        victims = self.scheduler.overflow()
        for victim in victims:
            if self.reuse is not None:
                self.reuse.abort(victim)
            self.prefiller.drop(victim.id)
            self.scheduler.preempt(victim)
            log.info(
                "sequence %d waits again, with %d tokens: there is no room for all caches",
                victim.id,
                len(victim.prompt) + len(victim.output),
                extra={"request": victim.request},
            )
            if self.reuse is not None:
                self.reuse.prepare(victim)
        outgrown = self.scheduler.outgrown()
        if outgrown is not None:
            why = too_long(outgrown.kv_tokens, self.scheduler.kv_ceiling)
            self._refuse(outgrown, why)
        running = self.scheduler.running
        gone = [r for r in running if r.status is not Status.RUNNING or r.all_sampled]
        tight = bool(victims) or self.scheduler.cramped
        if not gone and not (tight and self._runner.spare):
            return
        leaving = set(map(id, gone))
        rows = [i for i, row in enumerate(running) if id(row) in leaving]
        if self.reuse is not None:
            self.reuse.leave(rows)
        self._reorder(self._runner.leave(rows, tight=tight))

    def _reorder(self, order: list[int]) -> None:
        """Rows became `order`, indices into those before; rows not named have left."""
        self._sampler.keep(order)
        if self._inputs is not None:
            self._inputs = self._inputs[mx.array(order)] if order else None
        self.scheduler.reorder(order)

    def _refuse(self, sequence: Sequence, message: str) -> None:
        """Ends this one alone, with an error."""
        self.abort(sequence.id)
        self.rejected.append(Rejected(sequence.id, message))

    def _take_compiled(self, compiling: Compiling) -> None:
        """Sequences whose grammar is ready begin to wait for their turn."""
        nothing_else = self.scheduler.idle and self._submitted is None
        ready, rejected = compiling.take(GRAMMAR_WAIT_S if nothing_else else 0.0)
        for sequence in ready:
            self._queue(sequence)
        for each in rejected:
            self._sequences.pop(each.id, None)
        self.rejected += rejected

    def _allowed(self) -> Allowed | None:
        """What the grammars of the running rows allow after the tokens that were read."""
        allowed, failed = self._masks.of(self.scheduler.running, self._vocab_size)
        for sequence, message in failed:
            self._refuse(sequence, message)
        return allowed

    def _decode(self, plan: Plan) -> mx.array | None:
        """Logits of the next token of every running row; a chunk of prefill may be a guest."""
        if not self.scheduler.running or self._inputs is None:
            return None
        guest = self.prefiller.guest(plan)
        if guest is None:
            return self._runner.decode(self._inputs)
        return self.prefiller.decode_beside(self._inputs, guest)

    def _sample(self, logits: mx.array | None, allowed: Allowed | None = None) -> _Submitted | None:
        """Submits the next token of every running row."""
        if logits is None:
            return None
        rows = self.scheduler.running
        sampled = self._sampler.sample(logits, allowed)
        mx.async_eval(*sampled.arrays())
        self._inputs = sampled.tokens
        for row in rows:
            row.num_sampled += 1
        return _Submitted(list(rows), sampled)

    def _prefill(self, plan: Plan) -> None:
        """Computes the other chunks of this step; complete prompts become rows."""
        self._recent.begin()
        joining = self.prefiller.run(plan)
        if not joining:
            return
        if self.reuse is not None:
            for sequence in joining:
                self.reuse.join(sequence)
        caches, places = self.prefiller.take(joining)
        lengths = [s.num_prefilled for s in joining]
        adapters = [s.adapter for s in joining]
        rows = list(zip(caches, lengths, strict=True))
        order = self._runner.join(rows, adapters, places)
        self._sampler.join(joining)
        first = mx.array([s.last_token for s in joining], dtype=mx.int32)
        self._inputs = first if self._inputs is None else mx.concatenate([self._inputs, first])
        self.scheduler.start(joining)
        if order != sorted(order):  # the runner keeps rows of similar length side by side
            self._reorder(order)

    def _read(self, step: _Submitted) -> list[TokenRow]:
        """Waits for a step's tokens and books them."""
        tokens: list[int] = step.sampled.tokens.tolist()  # type: ignore[assignment]
        logprobs = step.sampled.logprob_lists(step.rows)
        now_s = time.perf_counter()
        rows: list[TokenRow] = []
        for i, (sequence, token) in enumerate(zip(step.rows, tokens, strict=True)):
            if sequence.status is Status.FINISHED:
                continue  # it ended one token earlier, or was aborted
            cached, prompt, took = sequence.news(now_s)
            finish = sequence.accept(token)
            row = TokenRow(sequence.id, [token], finish, cached, logprobs.get(i), prompt, took)
            rows.append(row)
            if finish is not None:
                if sequence.status is Status.WAITING:  # it was preempted meanwhile
                    self.scheduler.drop(sequence)
                sequence.status = Status.FINISHED
                del self._sequences[sequence.id]
                log.debug(
                    "sequence %d: %s after %d tokens",
                    sequence.id,
                    finish,
                    len(sequence.output),
                    extra={"request": sequence.request},
                )
        self.output_tokens += len(rows)
        return rows

    # ---- books

    @property
    def num_running(self) -> int:
        return len(self.scheduler.running) + len(self.scheduler.prefilling)

    @property
    def num_waiting(self) -> int:
        return len(self.scheduler.waiting)

    @property
    def prompt_tokens(self) -> int:
        """Of all prompts, computed since the start."""
        return self.prefiller.tokens

    @property
    def kv_bytes(self) -> int:
        held = self.reuse.nbytes if self.reuse is not None else 0
        return self._runner.kv_bytes + self.prefiller.nbytes + held

    @property
    def kv_tokens(self) -> int:
        running = sum(len(s.prompt) + s.num_sampled for s in self.scheduler.running)
        return running + sum(s.num_prefilled for s in self.scheduler.prefilling)

    def prefills(self) -> list[Prefill]:
        """Progress of the prompts that are being computed."""
        return [
            Prefill(s.id, s.num_prefilled, s.prefill_tokens + 1) for s in self.scheduler.prefilling
        ]

    def check(self) -> None:
        """Asserts that the books balance."""
        self.scheduler.check()
        assert self._runner.rows == len(self.scheduler.running)
        prefilling = {s.id for s in self.scheduler.prefilling}
        assert self.prefiller.caches.keys() <= prefilling, "a prefill cache has no sequence"
        if self.reuse is not None:
            self.reuse.check()
        if self.idle:
            assert not self._sequences, "an idle engine still knows requests"
