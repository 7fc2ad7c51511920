"""The scheduler as a pure state machine."""

from __future__ import annotations

from fastmlx.daemon.engine.budget import Budget
from fastmlx.daemon.engine.cost import Cost
from fastmlx.daemon.engine.scheduler import (
    ALONE_STEP_TOKENS,
    JUST_BEGUN,
    LEAST_CHUNK,
    Scheduler,
)
from fastmlx.daemon.engine.sequence import Sequence, Status
from fastmlx.daemon.protocol.sampling import Sampling
from hypothesis import given, settings
from hypothesis import strategies as st

SHORT = 256  # tokens of prompts that are computed at once


def sequence(number: int, prompt_tokens: int, max_tokens: int = 4) -> Sequence:
    return Sequence(number, [number] * prompt_tokens, [], Sampling(max_tokens=max_tokens))


def advance(scheduler: Scheduler, long_tokens: int = 10_000) -> int:
    """One step as the engine does it, without arrays; returns the prefilled tokens."""
    for row in scheduler.running:
        row.num_sampled += 1
    scheduler.reorder([i for i, row in enumerate(scheduler.running) if not row.all_sampled])
    # A second buys a token.
    budget = Budget(
        tokens=scheduler.step_prefill,
        cost=Cost(0, 1, 0),
        long_s=long_tokens,
        short_s=SHORT,
        long_tokens=long_tokens,
    )
    plan = scheduler.plan(budget)
    for chunk in plan.prefill:
        assert chunk.num_tokens > 0
        scheduler.prefilled(chunk)
    scheduler.start(plan.joining)
    return sum(chunk.num_tokens for chunk in plan.prefill)


def test_running_rows_leave_room_for_a_chunk_of_the_waiting_prompt() -> None:
    scheduler = Scheduler(max_concurrent=8, step_tokens=100)
    scheduler.add(sequence(1, prompt_tokens=2, max_tokens=100))
    advance(scheduler)
    scheduler.add(sequence(2, prompt_tokens=1000))
    assert advance(scheduler) == 99
    assert [row.id for row in scheduler.running] == [1]
    for _ in range(11):
        advance(scheduler)
    assert [row.id for row in scheduler.running] == [1, 2]


def test_with_nobody_decoding_a_prompt_is_prefilled_in_large_chunks() -> None:
    scheduler = Scheduler(max_concurrent=8, step_tokens=100)
    scheduler.add(sequence(1, prompt_tokens=5000))
    assert advance(scheduler) == ALONE_STEP_TOKENS


def test_rows_at_their_last_token_keep_no_prompt_waiting() -> None:
    for max_tokens, granted in ((3, 50), (2, 600)):
        scheduler = Scheduler(max_concurrent=8, step_tokens=1000)
        scheduler.add(sequence(1, prompt_tokens=2, max_tokens=max_tokens))
        advance(scheduler)
        scheduler.add(sequence(2, prompt_tokens=601))
        assert advance(scheduler, long_tokens=50) == granted


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
    scheduler = Scheduler(max_concurrent=300, step_tokens=16)
    for number in range(200):
        scheduler.add(sequence(number, prompt_tokens=1, max_tokens=50))
    advance(scheduler)
    scheduler.add(sequence(999, prompt_tokens=1000))
    assert advance(scheduler) == LEAST_CHUNK


def test_a_prompt_of_one_token_needs_no_prefill() -> None:
    scheduler = Scheduler(max_concurrent=2, step_tokens=16)
    scheduler.add(sequence(1, prompt_tokens=1))
    assert advance(scheduler) == 0
    assert [row.id for row in scheduler.running] == [1]


def test_a_long_prompt_is_paced_and_lets_short_ones_pass() -> None:
    scheduler = Scheduler(max_concurrent=8, step_tokens=512)
    scheduler.add(sequence(1, prompt_tokens=1, max_tokens=100))
    advance(scheduler)
    scheduler.add(sequence(2, prompt_tokens=10_000))
    assert advance(scheduler, long_tokens=30) == 30
    scheduler.add(sequence(3, prompt_tokens=100))
    assert advance(scheduler, long_tokens=30) == 30 + 99
    assert [row.id for row in scheduler.running] == [1, 3]


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
    scheduler = Scheduler(max_concurrent=max_concurrent, step_tokens=step_tokens)
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
        stay = [row for row in scheduler.running if row.num_sampled + 1 < row.sampling.max_tokens]
        prefilled = advance(scheduler)
        if stay:
            assert prefilled <= max(step_tokens, LEAST_CHUNK)
        scheduler.check()
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
    scheduler = Scheduler(max_concurrent=8, step_tokens=64)
    scheduler.add(sequence(7, prompt_tokens=1, max_tokens=100))
    advance(scheduler)
    for _ in range(3):
        scheduler.add(sequence(1, prompt_tokens=101))
    assert advance(scheduler) == 64
    assert advance(scheduler) == 36
    assert len(scheduler.running) == 4
