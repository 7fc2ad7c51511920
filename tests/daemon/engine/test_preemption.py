"""Sequences that lose their cache and are resumed answer as if nothing had happened."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import alone, assert_same, core_at, greedy, run, tokens_of
from fastmlx.daemon.engine.budget import Budget
from fastmlx.daemon.engine.cost import Cost
from fastmlx.daemon.engine.scheduler import Scheduler
from fastmlx.daemon.engine.sequence import Sequence, Status
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate
from hypothesis import given, settings
from hypothesis import strategies as st

ARCHITECTURES = ("qwen3", "gemma3_text", "qwen3_5")
TOKENS = 14


def prompt(seed: int, length: int = 20) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(10, 1000) for _ in range(length)]


def tightly(core: Any, at: int, requests: list[Generate]) -> dict[int, list[Any]]:
    """Runs the requests; at one step memory is short for all but the oldest, and later is not."""

    def shorten(step: int, _: Any) -> None:
        core.scheduler.max_kv_tokens = 60 if at <= step < at + 2 else None

    rows = run(core, requests, on_step=shorten)
    assert not core.rejected
    return rows


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("hot_bytes", [0, 1 << 24])
def test_preempted_at_any_step_the_answer_is_the_one_alone(
    arch: str, hot_bytes: int, tiny_model: Callable[..., Path]
) -> None:
    folder = tiny_model(arch)
    wanted = [alone(folder, prompt(n), TOKENS) for n in range(3)]
    drawn = Sampling(temperature=0.9, top_p=0.9, seed=5, repetition_penalty=1.3, max_tokens=TOKENS)
    core = core_at(folder, step_tokens=16, hot_bytes=hot_bytes)
    single = tokens_of(run(core, [Generate(0, prompt(7), sampling=drawn)])[0])
    for step in range(TOKENS + 2):
        before = core.scheduler.preemptions
        requests = [Generate(n, prompt(n), sampling=greedy(TOKENS)) for n in range(3)]
        rows = tightly(core, step, [*requests, Generate(3, prompt(7), sampling=drawn)])
        for n, want in enumerate(wanted):
            assert_same(tokens_of(rows[n]), *want)
        assert tokens_of(rows[3]) == single
        if 1 <= step < TOKENS:
            assert core.scheduler.preemptions > before


def test_within_a_small_memory_all_requests_end(tiny_model: Callable[..., Path]) -> None:
    folder = tiny_model("qwen3")
    core = core_at(folder, max_kv_tokens=150)
    asked = [prompt(n, 10 + 5 * (n % 7)) for n in range(12)]
    rows = run(core, [Generate(n, p, sampling=greedy(40)) for n, p in enumerate(asked)])
    assert core.scheduler.preemptions
    for n, p in enumerate(asked):
        assert_same(tokens_of(rows[n]), *alone(folder, p, 40))


def test_what_can_never_fit_is_refused_with_both_numbers(tiny_model: Callable[..., Path]) -> None:
    core = core_at(tiny_model("qwen3"), max_kv_tokens=50)
    fits = Generate(3, prompt(3, 10), sampling=greedy(5))
    rows = run(
        core,
        [
            Generate(1, prompt(1, 51), sampling=greedy(5)),
            Generate(2, prompt(2, 30), sampling=greedy(100)),
            fits,
        ],
    )
    messages = {r.id: (r.message, r.bad_request) for r in core.rejected}
    assert set(messages) == {1, 2}
    assert "51 tokens" in messages[1][0]
    assert messages[1][1]
    assert "holds 50" in messages[2][0]
    assert not messages[2][1]
    assert len(tokens_of(rows[3])) == 5


@settings(max_examples=80, deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(
            st.integers(0, 60),  # step
            st.integers(1, 90),  # prompt tokens
            st.integers(1, 30),  # answer
            st.integers(0, 3),  # which prompt: equal ones follow each other
            st.one_of(st.none(), st.integers(0, 40)),  # aborted after so many steps
        ),
        max_size=20,
    ),
    max_concurrent=st.integers(1, 6),
    max_kv_tokens=st.integers(120, 300),
    step_tokens=st.integers(1, 128),
)
def test_whatever_arrives_memory_is_kept_and_every_sequence_ends(
    arrivals: list[tuple[int, int, int, int, int | None]],
    max_concurrent: int,
    max_kv_tokens: int,
    step_tokens: int,
) -> None:
    scheduler = Scheduler(
        max_concurrent=max_concurrent, step_tokens=step_tokens, max_kv_tokens=max_kv_tokens
    )
    pending = sorted(enumerate(arrivals), key=lambda item: item[1][0])
    ends: list[tuple[int, Sequence]] = []
    everyone: list[Sequence] = []
    computed: list[Sequence] = []
    step = 0
    while pending or not scheduler.idle:
        while pending and pending[0][1][0] <= step:
            number, (_, length, answer, kind, lives) = pending.pop(0)
            sampling = Sampling(max_tokens=answer)
            request = Generate(number, [kind] * length, sampling=sampling)
            everyone.append(Sequence.of(request))
            scheduler.add(everyone[-1])
            if lives is not None:
                ends.append((step + lives, everyone[-1]))
        for when, member in ends:
            if when == step and member.status is not Status.FINISHED:
                scheduler.drop(member)
                member.status = Status.FINISHED
        # As the engine does it: leave, plan, decode, read what was decoded before, prefill.
        for victim in scheduler.overflow():
            scheduler.preempt(victim)
        assert scheduler.outgrown() is None, "all of these fit alone"
        stay = [
            i
            for i, row in enumerate(scheduler.running)
            if row.status is Status.RUNNING and not row.all_sampled
        ]
        scheduler.reorder(stay)
        scheduler.admit()
        budget = Budget(
            tokens=scheduler.step_prefill, cost=Cost(0, 1, 0), long_s=20, short_s=60, long_tokens=20
        )
        plan = scheduler.plan(budget, unread=bool(computed))
        held = [*scheduler.running, *scheduler.prefilling]
        assert sum(s.kv_tokens for s in held) <= max_kv_tokens
        read, computed = computed, list(scheduler.running)
        for row in computed:
            row.num_sampled += 1
        for row in read:
            if row.status is not Status.FINISHED and row.accept(7) is not None:
                scheduler.drop(row)
                row.status = Status.FINISHED
        for chunk in plan.prefill:
            scheduler.prefilled(chunk)
        joining = [s for s in plan.joining if s.status is Status.PREFILL]
        for member in joining:
            if member.num_prefilled < member.prefill_tokens:
                assert member.leader in joining
                member.num_prefilled = member.prefill_tokens
        scheduler.start(joining)
        scheduler.check()
        step += 1
        assert step < 20_000, "somebody starves"
    for row in computed:
        if row.status is not Status.FINISHED:
            row.accept(7)
    aborted = {id(member) for _, member in ends}
    for member in everyone:
        assert id(member) in aborted or len(member.output) == member.sampling.max_tokens
