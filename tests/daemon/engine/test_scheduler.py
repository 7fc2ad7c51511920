"""The scheduler as a pure state machine."""

from __future__ import annotations

from fastmlx.daemon.engine.budget import Budget
from fastmlx.daemon.engine.cost import Cost
from fastmlx.daemon.engine.scheduler import (
    ALONE_STEP_TOKENS,
    JUST_BEGUN,
    LEAST_CHUNK,
    Plan,
    Scheduler,
)
from fastmlx.daemon.engine.sequence import Sequence, Status
from fastmlx.daemon.protocol.sampling import Sampling
from hypothesis import given, settings
from hypothesis import strategies as st

SHORT = 256  # tokens of prompts that are computed at once


def sequence(number: int, prompt_tokens: int, max_tokens: int = 4) -> Sequence:
    return Sequence(number, [number] * prompt_tokens, [], Sampling(max_tokens=max_tokens))


class Engine:
    """Takes a scheduler's steps as the core does, without arrays."""

    def __init__(self, max_concurrent: int, step_tokens: int) -> None:
        self.scheduler = Scheduler(max_concurrent=max_concurrent, step_tokens=step_tokens)
        self._unread = False  # rows were decoded in the step before
        self._paused = 0  # steps in which prompts waited for last tokens

    @property
    def rows(self) -> list[int]:
        return [row.id for row in self.scheduler.running]

    def step(self, long_tokens: int = 10_000) -> int:
        """Returns how many tokens of prompts it computed."""
        scheduler = self.scheduler
        stay = [i for i, row in enumerate(scheduler.running) if not row.all_sampled]
        scheduler.reorder(stay)
        scheduler.admit()
        # A second buys a token.
        budget = Budget(
            tokens=scheduler.step_prefill,
            cost=Cost(0, 1, 0),
            long_s=long_tokens,
            short_s=SHORT,
            long_tokens=long_tokens,
        )
        plan = scheduler.plan(budget, unread=self._unread)
        prefilled = sum(chunk.num_tokens for chunk in plan.prefill)
        self._check(plan, prefilled)
        self._unread = bool(scheduler.running)
        for row in scheduler.running:
            row.num_sampled += 1
        for chunk in plan.prefill:
            assert chunk.num_tokens > 0
            scheduler.prefilled(chunk)
        scheduler.start(plan.joining)
        scheduler.check()
        return prefilled

    def _check(self, plan: Plan, prefilled: int) -> None:
        """The three cases of `Scheduler.plan`."""
        scheduler = self.scheduler
        self._paused += bool(scheduler.prefilling)
        if any(row.num_sampled + 1 < row.sampling.max_tokens for row in scheduler.running):
            assert prefilled <= max(scheduler.step_tokens, LEAST_CHUNK)
            self._paused = 0
        elif scheduler.running or self._unread:
            assert plan == Plan([], [])
        else:
            each = [s for s in scheduler.prefilling if not s.follows]
            missing = sum(s.prefill_tokens - s.num_prefilled for s in each)
            assert prefilled == min(missing, max(scheduler.step_tokens, ALONE_STEP_TOKENS))
            self._paused = 0
        assert self._paused <= 2, "last tokens keep prompts waiting for more than they take"


def test_running_rows_leave_room_for_a_chunk_of_the_waiting_prompt() -> None:
    engine = Engine(max_concurrent=8, step_tokens=100)
    engine.scheduler.add(sequence(1, prompt_tokens=2, max_tokens=100))
    engine.step()
    engine.scheduler.add(sequence(2, prompt_tokens=1000))
    assert engine.step() == 99
    assert engine.rows == [1]
    for _ in range(11):
        engine.step()
    assert engine.rows == [1, 2]


def test_with_nobody_decoding_a_prompt_is_prefilled_in_large_chunks() -> None:
    engine = Engine(max_concurrent=8, step_tokens=100)
    engine.scheduler.add(sequence(1, prompt_tokens=5000))
    assert engine.step() == ALONE_STEP_TOKENS


def test_prompts_that_come_beside_last_tokens_wait_for_them_and_are_computed_together() -> None:
    engine = Engine(max_concurrent=8, step_tokens=1000)
    engine.scheduler.add(sequence(1, prompt_tokens=2, max_tokens=2))
    engine.step()
    engine.scheduler.add(sequence(2, prompt_tokens=601))
    assert engine.step(long_tokens=50) == 50  # another token is wanted after the next one
    assert engine.step() == 0  # the last one begins to be computed
    engine.scheduler.add(sequence(3, prompt_tokens=301))
    assert engine.step() == 0  # it is read
    assert engine.step() == 550 + 300
    assert engine.rows == [2, 3]


def test_a_stream_begins_with_its_first_tokens() -> None:
    scheduler = Scheduler(max_concurrent=8, step_tokens=1000)
    assert scheduler.beginning
    old, ends = sequence(1, 2, max_tokens=100), sequence(2, 2, max_tokens=JUST_BEGUN + 1)
    scheduler.running = [old, ends]
    for tokens in range(JUST_BEGUN):
        assert scheduler.beginning
        old.num_sampled = ends.num_sampled = tokens + 1
    assert not scheduler.beginning
    scheduler.running = [ends]
    assert scheduler.beginning, "its last token keeps nobody waiting"


def test_prefill_goes_on_however_many_rows_decode() -> None:
    engine = Engine(max_concurrent=300, step_tokens=16)
    for number in range(200):
        engine.scheduler.add(sequence(number, prompt_tokens=1, max_tokens=50))
    engine.step()
    engine.scheduler.add(sequence(999, prompt_tokens=1000))
    assert engine.step() == LEAST_CHUNK


def test_a_prompt_of_one_token_needs_no_prefill() -> None:
    engine = Engine(max_concurrent=2, step_tokens=16)
    engine.scheduler.add(sequence(1, prompt_tokens=1))
    assert engine.step() == 0
    assert engine.rows == [1]


def test_a_long_prompt_is_paced_and_lets_short_ones_pass() -> None:
    engine = Engine(max_concurrent=8, step_tokens=512)
    engine.scheduler.add(sequence(1, prompt_tokens=1, max_tokens=100))
    engine.step()
    engine.scheduler.add(sequence(2, prompt_tokens=10_000))
    assert engine.step(long_tokens=30) == 30
    engine.scheduler.add(sequence(3, prompt_tokens=100))
    assert engine.step(long_tokens=30) == 30 + 99
    assert engine.rows == [1, 3]


@settings(max_examples=60, deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 400), st.integers(1, 12), st.booleans()),
        max_size=25,
    ),
    max_concurrent=st.integers(1, 6),
    step_tokens=st.integers(1, 128),
)
def test_whatever_arrives_all_finish_within_the_budget_and_in_fair_order(
    arrivals: list[tuple[int, int, int, bool]], max_concurrent: int, step_tokens: int
) -> None:
    engine = Engine(max_concurrent=max_concurrent, step_tokens=step_tokens)
    scheduler = engine.scheduler
    pending = list(enumerate(arrivals))
    admitted: list[int] = []
    everyone: list[Sequence] = []
    steps = 0
    while pending or not scheduler.idle:
        while pending and pending[0][1][0] <= steps % 7:
            number, (_, prompt_tokens, max_tokens, aborted) = pending.pop(0)
            member = sequence(number, prompt_tokens, max_tokens)
            everyone.append(member)
            scheduler.add(member)
            if aborted:
                scheduler.drop(member)
                member.status = Status.FINISHED
        engine.step()
        for member in everyone:
            if member.status is Status.RUNNING and member.id not in admitted:
                admitted.append(member.id)
        steps += 1
        assert steps < 20_000
    wanted = [m for m in everyone if m.status is not Status.FINISHED]
    assert all(m.num_sampled == m.sampling.max_tokens for m in wanted)
    assert all(m.num_prefilled == len(m.prompt) - 1 for m in wanted)
    assert sorted(admitted) == [m.id for m in wanted]
    turn = {number: i for i, number in enumerate(admitted)}
    for i, early in enumerate(wanted):
        for late in wanted[i + 1 :]:
            if len(early.prompt) <= len(late.prompt):
                assert turn[early.id] < turn[late.id], "nobody overtakes with as long a prompt"


def test_equal_prompts_follow_the_first_and_start_with_it() -> None:
    engine = Engine(max_concurrent=8, step_tokens=64)
    engine.scheduler.add(sequence(7, prompt_tokens=1, max_tokens=100))
    engine.step()
    for _ in range(3):
        engine.scheduler.add(sequence(1, prompt_tokens=101))
    assert engine.step() == 64
    assert engine.step() == 36
    assert len(engine.rows) == 4
