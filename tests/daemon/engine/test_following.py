"""Who waits for whom, as a pure state machine."""

from __future__ import annotations

from fastmlx.daemon.engine.budget import Budget
from fastmlx.daemon.engine.following import Sharing, waits
from fastmlx.daemon.engine.scheduler import Scheduler
from fastmlx.daemon.engine.sequence import Sequence, Status
from fastmlx.daemon.protocol.sampling import Sampling
from hypothesis import given
from hypothesis import strategies as st

LEAST = 4


def scheduler_of(max_concurrent: int = 4, *, at_marks: bool = False) -> Scheduler:
    sharing = Sharing(LEAST, at_marks)
    return Scheduler(max_concurrent=max_concurrent, step_tokens=16, sharing=sharing)


def sequence(number: int, prompt: list[int]) -> Sequence:
    return Sequence(number, prompt, [], Sampling(max_tokens=2))


def test_a_prompt_waits_for_the_one_with_which_it_shares_most() -> None:
    scheduler = scheduler_of()
    prompts = [[1] * 9, [1] * 6 + [2] * 9, [1] * 6 + [2] * 5 + [3] * 9, [1] * 3 + [4] * 9]
    rows = [sequence(i, prompt) for i, prompt in enumerate(prompts)]
    for row in rows:
        scheduler.add(row)
    assert [row.ahead and row.ahead.id for row in rows] == [None, 0, 1, None]
    assert [row.shared for row in rows] == [0, 6, 11, 0]


def test_what_is_known_already_is_not_waited_for() -> None:
    scheduler = scheduler_of()
    scheduler.add(sequence(0, [1] * 20))
    late = sequence(1, [1] * 20)
    scheduler.add(late, known=17)
    assert late.ahead is None


def test_the_one_ahead_stops_where_the_two_part() -> None:
    scheduler = scheduler_of()
    first, second = sequence(0, [1] * 20), sequence(1, [1] * 7 + [2] * 9)
    scheduler.add(first)
    scheduler.add(second)
    assert first.marks == [7]
    scheduler.admit()
    plan = scheduler.plan(Budget(tokens=1000), unread=False)
    assert [(c.sequence.id, c.end) for c in plan.prefill] == [(0, 7)]
    scheduler.prefilled(plan.prefill[0])
    assert not waits(second)


prompts = st.lists(st.integers(0, 1), min_size=1, max_size=24)


@given(
    st.lists(st.tuples(prompts, st.integers(0, 3)), min_size=1, max_size=12),
    st.sets(st.tuples(st.integers(0, 11), st.integers(0, 30)), max_size=8),
    st.booleans(),
)
def test_nobody_waits_for_ever_whoever_comes_and_goes(
    requests: list[tuple[list[int], int]], aborts: set[tuple[int, int]], at_marks: bool
) -> None:
    """Requests arrive some steps apart; (number, step) are aborted. All others end."""
    scheduler = scheduler_of(max_concurrent=3, at_marks=at_marks)
    rows = [sequence(i, prompt) for i, (prompt, _) in enumerate(requests)]
    coming = [
        row
        for row, (_, pause) in zip(rows, requests, strict=True)
        for row in [None] * pause + [row]
    ]
    for step in range(500):
        if coming and (row := coming.pop(0)) is not None:
            scheduler.add(row)
        for number, when in aborts:
            if when == step and number < len(rows):
                row = rows[number]
                if row in scheduler.waiting or row in scheduler.prefilling:
                    scheduler.drop(row)
                    row.status = Status.FINISHED
        for running in scheduler.running:
            running.num_sampled += 1
        stay = [i for i, row in enumerate(scheduler.running) if not row.all_sampled]
        for row in scheduler.running:
            if row.all_sampled:
                row.status = Status.FINISHED
        scheduler.reorder(stay)
        scheduler.admit()
        for row in scheduler.prefilling:
            if row.ahead is not None and not waits(row):  # as the engine takes it up
                ahead = row.ahead
                row.num_prefilled = row.shared if ahead.num_prefilled >= row.shared else 0
                row.ahead = None
        plan = scheduler.plan(Budget(tokens=6), unread=False)
        for chunk in plan.prefill:
            assert not waits(chunk.sequence)
            scheduler.prefilled(chunk)
        scheduler.start(plan.joining)
        scheduler.check()
        if not coming and scheduler.idle:
            return
    raise AssertionError("somebody still waits")
