"""Who runs in the next step. Pure bookkeeping: no arrays, no clock, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from .budget import Budget
from .following import Sharing, follow, waits
from .kv.prefix_tree import common
from .sequence import Sequence, Status

# With nobody decoding there is no stream to keep waiting: chunks as large as mlx-lm's default.
ALONE_STEP_TOKENS = 2048
# Prefill goes on with at least this much a step, however many rows decode.
LEAST_CHUNK = 64
# A sequence is admitted where it and all others may grow by so many tokens: else it would soon be
# preempted again.
HEADROOM = 32

JUST_BEGUN = 8  # tokens of a stream


class Chunk(NamedTuple):
    """Tokens [start, end) of the sequence's prompt and earlier output."""

    sequence: Sequence
    start: int
    end: int

    @property
    def num_tokens(self) -> int:
        return self.end - self.start

    @property
    def tokens(self) -> list[int]:
        return self.sequence.slice(self.start, self.end)


class Plan(NamedTuple):
    prefill: list[Chunk]
    joining: list[Sequence]  # their prompt is computed after these chunks; they decode next step;
    # a follower stands behind its leader


class Scheduler:
    """Waiting → prefill → running, first come first served.

    Every running row decodes in every step; the prompts are computed beside them (`plan`).
    When the caches of running and prefilling sequences would hold more than `max_kv_tokens`, the
    youngest is preempted: it loses its cache and waits again, before all others. The oldest never
    is, so every sequence ends.
    Invariant (`check`): a sequence is in exactly one of `waiting`, `prefilling`, `running`, and
    `len(prefilling) + len(running) <= max_concurrent`; who waits came after who does not.
    """

    def __init__(
        self,
        *,
        max_concurrent: int,
        step_tokens: int,
        max_kv_tokens: int | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self.max_concurrent = max_concurrent
        self.step_tokens = step_tokens
        self.max_kv_tokens = max_kv_tokens  # now; another engine may need memory for a while
        self.kv_ceiling = max_kv_tokens  # at best
        # What caches of so many tokens take, in the same unit; their buffers may be larger.
        self.weigh: Callable[[Iterable[int]], int] = sum
        self.sharing = sharing  # None: there is no prefix cache
        self.preemptions = 0
        self.short = False  # of memory, since somebody last asked
        self.cramped = False  # for lack of it alone the first who waits was not admitted
        self._arrivals = 0
        self.waiting: deque[Sequence] = deque()
        self.prefilling: list[Sequence] = []
        self.running: list[Sequence] = []

    def add(self, sequence: Sequence, known: int = 0) -> None:
        """Queues a sequence, of whose prompt so many tokens are `known` and need no computing.

        One that shares a long prefix with another that is not computed yet (agents that start
        together) waits for that one, see `following`. So does one with the same short prompt (the
        choices of a request with n > 1): it joins together with its leader.
        """
        if sequence.scores:
            pass  # it computes all of its prompt itself
        elif self.sharing is not None and len(sequence.prompt) > self.sharing.least_tokens:
            follow(sequence, self._not_running(), known, self.sharing)
        else:
            twin = next((s for s in self._not_running() if sequence.same_prompt(s)), None)
            if twin is not None:
                sequence.leader = twin.leader if twin.follows else twin
        sequence.arrival = self._arrivals
        self._arrivals += 1
        self.waiting.append(sequence)

    def _not_running(self) -> Iterator[Sequence]:
        yield from self.prefilling
        yield from self.waiting

    def overflow(self) -> list[Sequence]:
        """Who has to go so that the next step fits, the youngest first; call before it is planned.
        The core saves what it wants of their caches, and then calls `preempt`."""
        if self.max_kv_tokens is None:
            return []
        members = self._members()
        victims: list[Sequence] = []
        while len(members) > 1 and self._weight(members) > self.max_kv_tokens:
            victims.append(members.pop())
        return victims

    def _weight(self, members: list[Sequence]) -> int:
        return self.weigh(s.kv_tokens for s in members)

    @property
    def needed(self) -> int:
        """Of `max_kv_tokens`: what all who are admitted need by the end of the next step, or of
        their prefill."""
        return self._weight(self._members())

    @property
    def held(self) -> int:
        """Of `max_kv_tokens`: what those who have a cache need for what is in it."""
        running = [len(s.prompt) + s.num_sampled for s in self.running]
        begun = [s.num_prefilled for s in self.prefilling if s.num_prefilled]
        return self.weigh([*running, *begun])

    def preempt(self, victim: Sequence) -> None:
        """It waits again, before all others. A row stays in `running` until the next `reorder`."""
        if victim.status is Status.PREFILL:
            self.prefilling.remove(victim)
        self.short = True
        victim.preempt()
        self._unfollow(victim)  # it may not come back before they have gone
        self.waiting.appendleft(victim)
        self.preemptions += 1

    def outgrown(self) -> Sequence | None:
        """The sequence that passes the ceiling although it is alone; it can never end."""
        members = self._members()
        if self.kv_ceiling is None or len(members) != 1:
            return None
        return members[0] if members[0].kv_tokens > self.kv_ceiling else None

    def _members(self) -> list[Sequence]:
        """Who holds a cache after this step, the oldest first."""
        stay = [r for r in self.running if r.status is Status.RUNNING and not r.all_sampled]
        return sorted([*stay, *self.prefilling], key=lambda s: s.arrival)

    def _admits(self, sequence: Sequence) -> bool:
        if len(self.prefilling) + len(self.running) >= self.max_concurrent:
            return False
        if sequence.unread:
            return False  # preempted a moment ago: how long it is will be known after this step
        members = self._members()
        if self.max_kv_tokens is None or not members:
            return True
        wanted = self.weigh(
            min(s.kv_tokens + HEADROOM, len(s.prompt) + s.sampling.max_tokens)
            for s in (*members, sequence)
        )
        self.cramped = wanted > self.max_kv_tokens
        self.short = self.short or self.cramped
        return not self.cramped

    @property
    def step_prefill(self) -> int:
        """Tokens of prefill that the next step may carry."""
        if not self.running:
            return max(self.step_tokens, ALONE_STEP_TOKENS)
        return max(self.step_tokens - len(self.running), LEAST_CHUNK)

    @property
    def _streams(self) -> list[Sequence]:
        """Rows that want a token after the next one: prefill makes them wait for it."""
        return [row for row in self.running if row.goes_on]

    @property
    def beginning(self) -> bool:
        """Whether all streams have just begun."""
        return all(row.num_sampled < JUST_BEGUN for row in self._streams)

    def admit(self) -> None:
        """Those that wait become prefilling, as many as may run."""
        self.cramped = False
        while self.waiting and self._admits(self.waiting[0]):
            sequence = self.waiting.popleft()
            sequence.status = Status.PREFILL
            self.prefilling.append(sequence)

    def nearest(self, sequence: Sequence, known: int) -> tuple[Sequence | None, int]:
        """Who has computed more of this one's prompt than the `known` tokens, and how much."""
        best, most = None, known
        if self.sharing is not None:
            most += self.sharing.least_tokens - 1
        for other in (*self.running, *self.prefilling):
            done = other.num_prefilled if other.status is Status.PREFILL else len(other.prompt)
            done = min(done, sequence.prefill_tokens)
            if other is sequence or other.adapter != sequence.adapter or done <= most:
                continue
            done = min(done, common(sequence.prompt, other.prompt))
            if done > most:
                best, most = other, done
        return best, most

    def alike(self, sequence: Sequence) -> list[tuple[Sequence, int]]:
        """The others that run or are computed, and how many tokens their prompt and this one's
        have in common."""
        return [
            (other, common(sequence.prompt, other.prompt))
            for other in (*self.running, *self.prefilling)
            if other is not sequence and other.adapter == sequence.adapter
        ]

    def plan(self, budget: Budget, *, unread: bool) -> Plan:
        """The prefill of the next step, of prompts in the order of their arrival. `unread`: tokens
        that were sampled before are still being computed.

            streams                        as much as the budget grants: they wait for it
            last tokens, sampled or to be  nothing: the device would begin it after them, and they
                                           would wait for Python to build it. The prompts that come
                                           meanwhile are computed together
            nobody                         as many tokens as a step may carry
        """
        streams = self._streams
        if not streams and (self.running or unread):
            return Plan([], [])
        leading = [
            sequence for sequence in self.prefilling if not (sequence.follows or waits(sequence))
        ]
        missing = [(s.prefill_tokens, s.num_prefilled) for s in leading]
        known = [s.cached_tokens for s in leading]
        granted = budget.grants(missing, known) if streams else self._all_at_once(missing)
        tokens = dict(zip(map(id, leading), granted, strict=True))
        chunks: list[Chunk] = []
        joining: list[Sequence] = []
        for sequence in self.prefilling:
            if id(sequence) not in tokens:
                if sequence.leader in joining:
                    joining.append(sequence)
                continue
            start = sequence.num_prefilled
            end = start + sequence.until_mark(start, tokens[id(sequence)])
            if end > start:
                chunks.append(Chunk(sequence, start, end))
            if end == sequence.prefill_tokens:
                joining.append(sequence)
        return Plan(chunks, joining)

    def _all_at_once(self, prompts: list[tuple[int, int]]) -> list[int]:
        left = self.step_prefill
        granted: list[int] = []
        for tokens, done in prompts:
            granted.append(min(tokens - done, left))
            left -= granted[-1]
        return granted

    def prefilled(self, chunk: Chunk) -> None:
        """The chunk is in the sequence's cache."""
        chunk.sequence.num_prefilled = chunk.end

    def start(self, sequences: list[Sequence]) -> None:
        """The sequences became rows of the decode batch, in this order, after the others."""
        for sequence in sequences:
            self.prefilling.remove(sequence)
            sequence.status = Status.RUNNING
        self.running.extend(sequences)

    def reorder(self, order: list[int]) -> None:
        """Rows become `order`, indices into the present ones; rows not named leave the batch."""
        self.running = [self.running[row] for row in order]

    def drop(self, sequence: Sequence) -> None:
        """Forgets a sequence that is not a row: it was aborted, or its prefill failed."""
        if sequence.status is Status.WAITING:
            self.waiting.remove(sequence)
        elif sequence.status is Status.PREFILL:
            self.prefilling.remove(sequence)
        self._unfollow(sequence)

    def _unfollow(self, sequence: Sequence) -> None:
        """Who waits for this one looks for another that came before."""
        earlier: list[Sequence] = []
        for other in self._not_running():
            if other.ahead is sequence and self.sharing is not None:
                other.ahead = None
                follow(other, earlier, 0, self.sharing)
            earlier.append(other)

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.prefilling or self.running)

    def check(self) -> None:
        """Asserts the invariant; used by tests and when the engine turns idle."""
        members = [*self.waiting, *self.prefilling, *self.running]
        assert len({id(s) for s in members}) == len(members), "a sequence is in two places"
        assert all(s.status is Status.WAITING for s in self.waiting)
        assert all(s.status is Status.PREFILL for s in self.prefilling)
        assert all(s.status is Status.RUNNING for s in self.running)
        assert len(self.prefilling) + len(self.running) <= self.max_concurrent
        ages = [s.arrival for s in (*self.prefilling, *self.running)]
        waiting = [s.arrival for s in self.waiting]
        assert waiting == sorted(waiting), "somebody overtook in the queue"
        assert not ages or not waiting or max(ages) < waiting[0], "somebody overtook"
