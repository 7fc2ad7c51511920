"""Prompts on their way into the batch: their caches, and the forwards that fill them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import mlx.core as mx

from .budget import GUEST_TOKENS
from .cost import Recent, work_of
from .kv.pack import Place
from .kv.packed import packs
from .kv.prompt_room import make_room
from .kv.ragged import LayerCaches
from .logprobs import score
from .reuse import Reuse
from .runners.text import TextRunner
from .scheduler import Chunk, Plan, Scheduler
from .sequence import Sequence, Status


class Prefiller:
    """Computes what the scheduler planned. `caches` are by request id, until the row joins."""

    def __init__(
        self,
        runner: TextRunner,
        scheduler: Scheduler,
        reuse: Reuse | None,
        recent: Recent,
        refuse: Callable[[Sequence, str], None],
    ) -> None:
        """`refuse` is told of a prompt that the model does not take, and why."""
        self.caches: dict[int, LayerCaches] = {}
        self.tokens = 0  # computed since the start
        self._places: dict[int, Place] = {}  # by request id, of prompts that are complete
        self._runner = runner
        self._scheduler = scheduler
        self._reuse = reuse
        self._recent = recent
        self._refuse = refuse

    @property
    def nbytes(self) -> int:
        return sum(cache.nbytes for layers in self.caches.values() for cache in layers)

    def drop(self, request_id: int) -> None:
        """Forgets what was computed for the request."""
        self.caches.pop(request_id, None)
        self._places.pop(request_id, None)

    def guest(self, plan: Plan) -> Chunk | None:
        """The chunk of a long prompt that a decode step can compute beside its rows, if any."""
        if not self._runner.mixes:
            return None
        for chunk in plan.prefill:
            fits = chunk.num_tokens <= GUEST_TOKENS and not self._packable(chunk)
            if fits and not chunk.sequence.scores:
                return chunk
        return None

    def decode_beside(self, inputs: mx.array, guest: Chunk) -> mx.array:
        """Logits of the next token of every row of `inputs`; the guest's chunk is computed, too."""
        sequence = guest.sequence
        cache = self._with_room(guest)
        logits = self._runner.decode_beside(
            inputs, cache, guest.tokens, guest.start, sequence.adapter
        )
        self._done(guest, forwards=0)
        return logits

    def run(self, plan: Plan) -> list[Sequence]:
        """Computes the plan's chunks but for the guest's; returns whose prompt is now complete."""
        whole = [chunk for chunk in plan.prefill if self._packable(chunk)]
        for group in packs([chunk.num_tokens for chunk in whole]):
            if len(group) > 1:
                self._run_packed([whole[index] for index in group])
        for chunk in plan.prefill:
            if chunk.sequence.num_prefilled < chunk.end:
                self._run_chunk(chunk)
        joining: list[Sequence] = []
        for sequence in plan.joining:
            if sequence.status is not Status.PREFILL:
                continue  # its prompt was refused a moment ago
            if sequence.num_prefilled == sequence.prefill_tokens or sequence.leader in joining:
                joining.append(sequence)
        return joining

    def take(self, joining: list[Sequence]) -> tuple[list[LayerCaches], list[Place | None]]:
        """The caches of sequences that become rows, and where they lie together; they are no longer
        kept here."""
        caches = [self._joining_cache(sequence) for sequence in joining]
        places = [self._places.get(sequence.id) for sequence in joining]
        for sequence in joining:
            self.drop(sequence.id)
            sequence.leader = None  # or each would keep all before it alive
        return caches, places

    def _joining_cache(self, sequence: Sequence) -> LayerCaches:
        leader = sequence.leader
        if leader is None or sequence.num_prefilled == sequence.prefill_tokens:
            return self._cache(sequence)
        # Shares the leader's arrays: both are copied into the batch, or on the first write.
        sequence.num_prefilled = leader.num_prefilled
        return copy.deepcopy(self._cache(leader))

    def _packable(self, chunk: Chunk) -> bool:
        sequence = chunk.sequence
        whole = chunk.num_tokens == sequence.prefill_tokens
        return whole and chunk.num_tokens <= self._runner.pack_limit and not sequence.scores

    def _run_packed(self, chunks: list[Chunk]) -> None:
        caches = [self._runner.new_cache() for _ in chunks]
        prompts = [chunk.tokens for chunk in chunks]
        adapters = [chunk.sequence.adapter for chunk in chunks]
        pack = self._runner.prefill_packed(caches, prompts, adapters)
        for number, (chunk, cache) in enumerate(zip(chunks, caches, strict=True)):
            self.caches[chunk.sequence.id] = cache
            self._places[chunk.sequence.id] = Place(pack, number)
            self._done(chunk, forwards=int(number == 0))

    def _run_chunk(self, chunk: Chunk) -> None:
        sequence = chunk.sequence
        cache = self._with_room(chunk)
        try:
            if sequence.scores:
                score(self._runner, cache, sequence, chunk.start, chunk.end)
            else:
                self._runner.prefill(cache, chunk.tokens, sequence.adapter)
        except ValueError as error:
            # This prompt's own fault (a shape that the model refuses): the others go on.
            self._refuse(sequence, f"the model refused the prompt: {error}")
            return
        self._done(chunk, forwards=1)

    def _with_room(self, chunk: Chunk) -> LayerCaches:
        cache = self._cache(chunk.sequence)
        make_room(cache, chunk.num_tokens, chunk.sequence.prefill_tokens)
        return cache

    def _cache(self, sequence: Sequence) -> LayerCaches:
        cache = self.caches.get(sequence.id)
        if cache is None:
            cache = self.caches[sequence.id] = self._runner.new_cache()
        return cache

    def _done(self, chunk: Chunk, *, forwards: int) -> None:
        self._scheduler.prefilled(chunk)
        self.tokens += chunk.num_tokens
        self._recent.add(work_of(chunk.num_tokens, chunk.start, forwards=forwards))
        if self._reuse is not None:
            self._reuse.computed(chunk.sequence)
