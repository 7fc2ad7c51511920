"""Between sequences and the prefix cache: what one takes up and what it leaves behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import mlx.core as mx

from ..protocol.wire import CacheLimits
from .following import Sharing, waits
from .kv import payload
from .kv.base import Base, over
from .kv.bases import LEAST_BASE, worth
from .kv.cold_tier import ColdTier, Fetch
from .kv.marks import INTERVAL, at_last_end, candidates, last_end, marks
from .kv.payload import Checkpoint
from .kv.prefix_cache import Hit, PrefixCache, SpanOf
from .kv.prefix_tree import tokens_of
from .kv.ragged import LayerCaches, arrays, base_of
from .runners.text import TextRunner
from .scheduler import Scheduler
from .sequence import Sequence, Status

LEAST_SHARED = 128  # tokens for which a prompt waits until another has computed them
LEAST_FETCHED = 128  # tokens for which the cold tier is asked
FETCH_WAIT_S = 0.005
MOST_MOVED = 8192  # tokens that rows copy at a time to share a prefix
IDLE_BYTES = 32 << 20  # written to the cold tier at a time while nothing runs


class Reuse:
    """What an engine core does with its prefix cache.

    Checkpoints of sequences that still run are held here, by position, until they are put into the
    cache: when the sequence leaves, or when another one wants its beginning.
    """

    _runner: TextRunner
    _scheduler: Scheduler
    _caches: dict[int, LayerCaches]  # of the prompts that are being computed, by request id
    _reorder: Callable[[list[int]], None]  # tells the core how its rows changed their places

    def __init__(
        self,
        cache: PrefixCache,
        *,
        interval: int = INTERVAL,
        least_shared: int = LEAST_SHARED,
        salt: Callable[[int], bytes] = lambda adapter: str(adapter).encode(),
        open_cold: Callable[[CacheLimits], ColdTier] | None = None,
    ) -> None:
        self.cache = cache
        self._sharing = Sharing(least_shared, cache.has_states)
        self._salt = salt  # of the adapter with this number
        self._open_cold = open_cold  # when the limits begin to allow one
        self._interval = interval
        self._checkpoints: dict[int, dict[int, Checkpoint]] = {}  # by request id
        self._fetches: dict[int, Fetch] = {}  # by request id

    def begin(
        self,
        runner: TextRunner,
        scheduler: Scheduler,
        caches: dict[int, LayerCaches],
        clock: Callable[[], float],
        reorder: Callable[[list[int]], None],
    ) -> None:
        """Called once by the core whose sequences these are."""
        self._runner, self._scheduler, self._caches = runner, scheduler, caches
        self._reorder = reorder
        self.cache.clock = clock

    @property
    def on(self) -> bool:
        return self.cache.hot_bytes > 0

    @property
    def sharing(self) -> Sharing | None:
        """When a prompt waits for another one to compute what both begin with."""
        return self._sharing if self.on else None

    # ---- before a prompt is computed

    def prepare(self, sequence: Sequence) -> None:
        """Decides where the prefill stops for checkpoints."""
        if self.on and self.cache.has_states:
            tokens = sequence.slice(0, sequence.prefill_tokens)
            sequence.marks = marks(tokens, len(tokens), sequence.stop_ids, interval=self._interval)

    def known(self, sequence: Sequence) -> int:
        """How much of its prompt could be restored now, in tokens."""
        return self._find(sequence).length if self.on else 0

    def take_up(self) -> None:
        """Prompts that begin with what is known, or with what another one has just computed, go on
        from there; what is on disk is read first, while others run."""
        self.cache.trim()
        prefilling = self._scheduler.prefilling
        if self._fetches and not self._scheduler.running and all(map(waits, prefilling)):
            next(iter(self._fetches.values())).ticket.wait(FETCH_WAIT_S)  # nothing else to do
        for sequence in list(prefilling):
            if sequence.fetching:
                self._fetched(sequence)
            elif not (sequence.looked_up or sequence.follows or sequence.scores or waits(sequence)):
                sequence.looked_up = True
                self._look_up(sequence)
        self.cache.bases.renew()

    def _look_up(self, sequence: Sequence) -> None:
        other, shared = sequence.ahead, sequence.shared
        sequence.ahead = None
        if other is None and self.on:
            other, shared = self._scheduler.nearest(sequence, self.known(sequence))
        if other is not None:
            self._publish(other, shared)
        hit = self._find(sequence)
        fetch = self._fetch(sequence, hit)
        if fetch is None:
            self._restore(sequence, hit)
        else:
            self._fetches[sequence.id] = fetch
            sequence.fetching = True

    def _fetch(self, sequence: Sequence, hit: Hit) -> Fetch | None:
        cold, end = self.cache.cold, sequence.prefill_tokens
        if cold is None or not self.on or end - hit.length < LEAST_FETCHED:
            return None
        ids = sequence.slice(0, end)
        at = None
        if self.cache.has_states:
            at = candidates(ids, end, sequence.stop_ids, interval=self._interval)
        salt = self._salt(sequence.adapter)
        return cold.find(salt, tokens_of(ids), hit.match.length, hit.length, at)

    def _fetched(self, sequence: Sequence) -> None:
        """Goes on when all that was asked for is here."""
        fetch = self._fetches[sequence.id]
        if not fetch.ticket.done:
            return
        del self._fetches[sequence.id]
        sequence.fetching = False
        before = self._find(sequence).length
        fetched = self.cache.cold.take(fetch) if self.cache.cold is not None else None
        if fetched is not None:
            tokens = tokens_of(sequence.slice(0, sequence.prefill_tokens))
            self.cache.absorb(self._salt(sequence.adapter), tokens, fetched)
        hit = self._find(sequence)
        self._restore(sequence, hit, cold=hit.length - before)

    def _base(self, sequence: Sequence, limit: int, shared: int = 0) -> Base | None:
        """A base of some of the first `limit` tokens of a prompt that others use, too."""
        if not (self.on and self._runner.shares and limit >= LEAST_BASE):
            return None
        tokens = tokens_of(sequence.slice(0, limit))
        return self.cache.bases.find(self._salt(sequence.adapter), tokens, limit, shared)

    def _put_over(self, sequence: Sequence, base: Base) -> int:
        """Lets a sequence that begins with the base go on from it, where that is worth it, instead
        of from its own copy. Returns how many tokens that copied."""
        if sequence.status is Status.RUNNING:
            row = self._scheduler.running.index(sequence)
            length = self._runner.length(row)
            if not worth(base, self._runner.base(row), length):
                return 0
            self._reorder(self._runner.put_over(row, base))
            return length - base.length
        caches, length = self._caches.get(sequence.id), sequence.num_prefilled
        if caches is None or not worth(base, base_of(caches), length):
            return 0
        rest = payload.span_of(caches, base.length, length)
        shared = over(self._runner.new_cache(), base)
        payload.restore(shared, [rest], payload.capture(caches), length)
        mx.async_eval(arrays(shared))
        self._caches[sequence.id] = shared
        return length - base.length

    def _restore(self, sequence: Sequence, hit: Hit, *, cold: int = 0) -> None:
        caches = self._runner.new_cache() if hit.length else []
        if hit.length >= LEAST_BASE:
            others = self._scheduler.alike(sequence)
            shared = min(max((same for _, same in others), default=0), hit.length)
            base = self._base(sequence, hit.length, shared)
            if base is not None:
                caches = over(caches, base)
                left = MOST_MOVED
                for other, same in others:
                    if same >= base.length and left > 0:
                        left -= self._put_over(other, base)
                hit = self._find(sequence)  # a node may have been cut where the base ends
        self.cache.take(hit, sequence.prefill_tokens + 1, caches, cold)
        if hit.length:
            mx.async_eval(arrays(caches))
            sequence.num_prefilled = sequence.cached_tokens = hit.length
            self._caches[sequence.id] = caches
            if self.cache.cold is not None:
                tokens = tokens_of(sequence.slice(0, hit.length))
                self.cache.cold.touch(self._salt(sequence.adapter), tokens)
        if self.cache.has_states:
            self._mark_last_end(sequence, hit)

    def _mark_last_end(self, sequence: Sequence, hit: Hit) -> None:
        end = sequence.prefill_tokens
        if at_last_end(hit.length, hit.match.length, hit.match.end, end):
            at = last_end(sequence.slice(0, end), end, sequence.stop_ids)
            if hit.length < at and at not in sequence.marks:
                sequence.marks = sorted((*sequence.marks, at))

    def _find(self, sequence: Sequence) -> Hit:
        tokens = tokens_of(sequence.slice(0, sequence.prefill_tokens))
        hit = self.cache.find(self._salt(sequence.adapter), tokens, sequence.prefill_tokens)
        if not self._runner.lockstep.alone:
            seen = hash((hit.length, hit.match.length, hit.match.end)) % (1 << 50)
            agreed = self._runner.lockstep.agree(seen)
            assert agreed == seen, "the ranks keep different prefixes"
        return hit

    # ---- while it is computed, and afterwards

    def computed(self, sequence: Sequence) -> None:
        """A chunk of its prefill is submitted: keeps a checkpoint where one is due."""
        position = sequence.num_prefilled
        if self.cache.has_states and position in sequence.marks and self.on:
            self._hold(sequence, position, payload.capture(self._caches[sequence.id]))

    def _hold(self, sequence: Sequence, position: int, checkpoint: Checkpoint) -> None:
        mx.async_eval(checkpoint.arrays())
        self._checkpoints.setdefault(sequence.id, {})[position] = checkpoint

    def join(self, sequence: Sequence) -> None:
        """Its prompt is computed and it begins to run. Where others wait to go on from it (the
        choices of one request do) it lets go of what they will share."""
        others = (*self._scheduler.prefilling, *self._scheduler.waiting)
        shared = max((s.shared for s in others if s.ahead is sequence), default=0)
        if self.on and shared >= LEAST_BASE:
            self._publish(sequence, shared)
            base = self._base(sequence, shared, shared)
            if base is not None:
                self._put_over(sequence, base)

    def leave(self, rows: list[int]) -> None:
        """These running rows have ended, or were stopped: what they computed is kept."""
        for row in rows:
            sequence, length = self._scheduler.running[row], self._runner.length(row)
            known = len(sequence.prompt) + len(sequence.output)
            if self.on and self.cache.has_states and length <= known:
                self._hold(sequence, length, self._runner.checkpoint(row))
            self._put(sequence, min(length, known), partial(self._runner.span, row))
            self._checkpoints.pop(sequence.id, None)

    def abort(self, sequence: Sequence) -> None:
        """Nobody wants the prompt any more: what was computed of it is kept."""
        if sequence.status is Status.PREFILL:
            self._publish(sequence, sequence.num_prefilled)
            self._checkpoints.pop(sequence.id, None)
        fetch = self._fetches.pop(sequence.id, None)
        if fetch is not None:
            fetch.ticket.cancel()

    def _publish(self, sequence: Sequence, end: int) -> None:
        """Puts the first `end` tokens of a sequence into the cache, as far as it has them."""
        if sequence.status is Status.RUNNING:
            if sequence not in self._scheduler.running:
                return  # its last tokens are not read yet, but it has left with what it computed
            row = self._scheduler.running.index(sequence)
            end = min(end, self._runner.length(row))  # its last token may not be fed yet
            self._put(sequence, end, partial(self._runner.span, row))
        elif sequence.id in self._caches:
            self._put(sequence, end, partial(payload.span_of, self._caches[sequence.id]))

    def _put(self, sequence: Sequence, end: int, span_of: SpanOf) -> None:
        if self.on:
            tokens = tokens_of(sequence.slice(0, end))
            held = self._checkpoints.get(sequence.id, {})
            self.cache.put(self._salt(sequence.adapter), tokens, span_of, held)
            if sequence.keep:
                self.cache.mark(self._salt(sequence.adapter), tokens)

    # ---- the cold tier

    def tend(self) -> None:
        """While nothing runs: writes a little of what is only in memory."""
        if self.cache.cold is not None:
            self.cache.demote(IDLE_BYTES)

    def limit(self, limits: CacheLimits) -> None:
        """Other limits from now on."""
        self.cache.resize(limits.hot_bytes)
        if self.cache.cold is not None:
            self.cache.cold.store.limit(limits.cold_bytes, limits.write_budget_bytes)
        elif limits.cold_bytes and self._open_cold is not None:
            self.cache.cold = self._open_cold(limits)
        self._scheduler.sharing = self.sharing

    def clear(self, *, hot: bool, cold: bool) -> None:
        """Forgets what nobody uses. The front deletes the files of the cold tier."""
        if cold and self.cache.cold is not None:
            self.cache.cold.store.drop()
            self.cache.forget_stored()
        if hot:
            self.cache.clear()

    def close(self, timeout_s: float) -> None:
        """Writes what is only in memory, as far as there is time."""
        if self.cache.cold is None:
            return
        until_s = time.monotonic() + timeout_s
        while not self.cache.demote(IDLE_BYTES) and time.monotonic() < until_s:
            self.cache.cold.store.flush(max(0.0, until_s - time.monotonic()))
        self.cache.cold.store.flush(max(0.0, until_s - time.monotonic()))
        self.cache.cold.store.close(1.0)

    # ---- books

    @property
    def nbytes(self) -> int:
        """Of the checkpoints of sequences that run."""
        return sum(c.nbytes for held in self._checkpoints.values() for c in held.values())

    def check(self) -> None:
        """Asserts that the books balance."""
        self.cache.check()
        active = {s.id for s in (*self._scheduler.running, *self._scheduler.prefilling)}
        assert self._checkpoints.keys() <= active, "checkpoints of a sequence that is gone"
        assert self._fetches.keys() <= active, "a sequence that is gone is still fetched for"
