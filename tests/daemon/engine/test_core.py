"""The engine without its socket: joining, leaving, stopping, rejecting."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import alone, assert_same, core_at, greedy, run, tokens_of
from fastmlx.daemon.protocol.grammar import Grammar
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate, TokenRow


@pytest.fixture(scope="module")
def folder(tiny_model: Callable[..., Path]) -> Path:
    return tiny_model("qwen3")


def prompt(seed: int, length: int = 12) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(10, 1000) for _ in range(length)]


def test_an_aborted_request_leaves_and_the_others_do_not_notice(folder: Path) -> None:
    core = core_at(folder)

    def abort_at_step_three(step: int, rows: dict) -> None:
        if step == 3:
            core.abort(1)
            core.abort(1)
            core.abort(77)

    requests = [Generate(i, prompt(i), sampling=greedy(20)) for i in range(3)]
    rows = run(core, requests, on_step=abort_at_step_three)
    assert len(tokens_of(rows[1])) < 20
    for i in (0, 2):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt(i), 20))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_request_may_be_aborted_while_it_waits_or_prefills(folder: Path, step: int) -> None:
    core = core_at(folder, max_concurrent=1, step_tokens=4)
    requests = [Generate(i, prompt(i, 200), sampling=greedy(3)) for i in range(3)]

    def abort(now: int, rows: dict) -> None:
        if now == step:
            core.abort(0)
            core.abort(1)

    rows = run(core, requests, on_step=abort)
    assert_same(tokens_of(rows[2]), *alone(folder, prompt(2, 200), 3))


def test_a_stop_token_ends_the_row_and_is_the_last_token(folder: Path) -> None:
    want, _ = alone(folder, prompt(4), 30)
    stop = want[10]
    first = want.index(stop)
    sampling = greedy(30, stop_token_ids=(stop,))
    rows = run(core_at(folder), [Generate(1, prompt(4), sampling=sampling)])[1]
    assert tokens_of(rows) == want[: first + 1]
    assert [row.finish for row in rows] == [None] * first + ["stop"]


def test_min_tokens_puts_the_stop_off(folder: Path) -> None:
    want, _ = alone(folder, prompt(4), 30)
    sampling = greedy(30, stop_token_ids=(want[0],), min_tokens=8)
    rows = run(core_at(folder), [Generate(1, prompt(4), sampling=sampling)])[1]
    tokens = tokens_of(rows)
    assert want[0] not in tokens[:8]
    assert len(tokens) >= 8


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Generate(1, [], sampling=greedy(3)), "empty"),
        (Generate(1, [5, 1024], sampling=greedy(3)), "token ids"),
        (Generate(1, [-1], sampling=greedy(3)), "token ids"),
        (Generate(1, [5], sampling=greedy(2), output=[1, 2]), "already"),
    ],
)
def test_a_request_that_cannot_run_is_rejected_alone(
    folder: Path, request_: Generate, reason: str
) -> None:
    core = core_at(folder)
    rows = run(core, [request_, Generate(2, prompt(2), sampling=greedy(5))])
    assert [r.id for r in core.rejected] == [1]
    assert reason in core.rejected[0].message
    assert_same(tokens_of(rows[2]), *alone(folder, prompt(2), 5))


def test_a_seed_gives_the_same_tokens_alone_in_a_crowd_and_after_a_replay(folder: Path) -> None:
    sampling = Sampling(temperature=0.9, top_p=0.95, seed=42, max_tokens=24)
    single = tokens_of(run(core_at(folder), [Generate(1, prompt(1), sampling=sampling)])[1])
    others = [
        Generate(i, prompt(i), sampling=Sampling(temperature=1.2, seed=i, max_tokens=9 + i))
        for i in range(2, 9)
    ]
    crowd = run(core_at(folder), [*others, Generate(1, prompt(1), sampling=sampling)], join_every=2)
    assert tokens_of(crowd[1]) == single
    replay = Generate(1, prompt(1), sampling=sampling, output=single[:11])
    assert tokens_of(run(core_at(folder), [replay])[1]) == single[11:]
    other_seed = Sampling(temperature=0.9, top_p=0.95, seed=43, max_tokens=24)
    different = run(core_at(folder), [Generate(1, prompt(1), sampling=other_seed)])[1]
    assert tokens_of(different) != single


def test_penalties_in_a_batch_are_those_of_the_row(folder: Path) -> None:
    sampling = greedy(16, repetition_penalty=1.4, frequency_penalty=0.5)
    single = tokens_of(run(core_at(folder), [Generate(1, prompt(1), sampling=sampling)])[1])
    mixed = [
        Generate(i, prompt(i), sampling=greedy(10) if i % 2 else sampling) for i in range(1, 7)
    ]
    mixed[0] = Generate(1, prompt(1), sampling=sampling)
    rows = run(core_at(folder), mixed, join_every=1)
    assert tokens_of(rows[1]) == single
    assert_same(tokens_of(rows[3]), *alone(folder, prompt(3), 10))
    replay = Generate(1, prompt(1), sampling=sampling, output=single[:7])
    assert tokens_of(run(core_at(folder), [replay])[1]) == single[7:]


def test_many_more_requests_than_rows_all_end(folder: Path) -> None:
    core = core_at(folder, max_concurrent=4, step_tokens=64)
    requests = [Generate(i, prompt(i, 1 + i % 30), sampling=greedy(1 + i % 7)) for i in range(60)]
    rows = run(core, requests)
    assert {i: len(tokens_of(r)) for i, r in rows.items()} == {i: 1 + i % 7 for i in range(60)}
    assert core.output_tokens == sum(1 + i % 7 for i in range(60))
    assert core.kv_bytes == 0


@pytest.mark.parametrize("arch", ["qwen3", "gemma3_text", "qwen3_5", "mamba2", "deepseek_v3"])
@pytest.mark.parametrize("length", [1, 12, 300])
def test_equal_prompts_are_computed_once_and_answer_as_if_alone(
    arch: str, length: int, tiny_model: Callable[..., Path]
) -> None:
    """The choices of a request with n > 1: different seeds, one prompt."""
    folder = tiny_model(arch)
    asked = prompt(3, length)
    samplings = [greedy(9), *(Sampling(seed=i, temperature=0.9, max_tokens=9) for i in range(3))]
    core = core_at(folder, step_tokens=64)
    together = run(core, [Generate(i, asked, sampling=s) for i, s in enumerate(samplings)])
    assert core.prompt_tokens == length - 1
    for i, sampling in enumerate(samplings):
        single = run(core_at(folder), [Generate(0, asked, sampling=sampling)])[0]
        assert tokens_of(together[i]) == tokens_of(single)


def test_rows_that_cannot_batch_share_a_prompt_too(folder: Path) -> None:
    core = core_at(folder)
    core._runner.batches = False
    rows = run(core, [Generate(i, prompt(5), sampling=greedy(6 + i)) for i in range(3)])
    for i in range(3):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt(5), 6 + i))


@pytest.mark.parametrize("step", [0, 1, 2, 5])
def test_followers_go_on_when_their_leader_is_aborted(folder: Path, step: int) -> None:
    core = core_at(folder, step_tokens=16)

    def abort(now: int, rows: dict) -> None:
        if now == step:
            core.abort(0)

    blocker = Generate(9, prompt(9), sampling=greedy(40))
    followers = [Generate(i, prompt(2, 300), sampling=greedy(5)) for i in range(3)]
    rows = run(core, [blocker, *followers], on_step=abort)
    for i in (1, 2):
        assert_same(tokens_of(rows[i]), *alone(folder, prompt(2, 300), 5))


def test_a_step_is_submitted_before_the_tokens_of_the_last_one_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    core = core_at(folder, max_concurrent=3)
    read, unread = core._read, []

    def reading(step: Any) -> list[TokenRow]:
        unread.append([row.num_sampled - len(row.output) for row in step.rows])
        return read(step)

    monkeypatch.setattr(core, "_read", reading)
    run(core, [Generate(i, [5, 6, 7 + i], sampling=greedy(6)) for i in range(3)])
    assert unread == [[2, 2, 2]] * 5 + [[1, 1, 1]]


@pytest.mark.parametrize(
    ("grammar", "order"),
    [
        (None, ["decode", "sample", "read", "tell"]),
        (Grammar("regex", "[a-z]{400}"), ["decode", "read", "masks", "sample", "tell"]),
    ],
)
def test_what_the_device_need_not_wait_for_is_done_while_it_computes(
    folder: Path, grammar: Grammar | None, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a row has a grammar, its tokens are read and the masks made beside the logits."""
    core = core_at(folder)
    done: list[str] = []

    def watch(owner: Any, method: str, name: str) -> None:
        plain = getattr(owner, method)

        def watched(*arguments: Any) -> Any:
            done.append(name)
            return plain(*arguments)

        monkeypatch.setattr(owner, method, watched)

    watch(core._runner, "decode", "decode")
    watch(core._sampler, "sample", "sample")
    watch(core._masks, "of", "masks")
    watch(core, "_read", "read")
    core.add(Generate(0, prompt(0), greedy(12), grammar=grammar))
    core.add(Generate(1, prompt(1), greedy(12)))
    orders: list[list[str]] = []
    while not core.idle:
        done.clear()
        rows = core.scheduler.running
        both = core._submitted is not None and [row.goes_on for row in rows] == [True] * 2
        core.step(lambda rows: done.append("tell"))
        if both:
            orders.append(list(done))
    assert len(orders) > 5
    assert all(found == order for found in orders), orders


def test_all_rows_of_a_step_are_told_at_once(folder: Path) -> None:
    core = core_at(folder)
    for i in range(3):
        core.add(Generate(i, prompt(i), greedy(6)))
    told: list[list[TokenRow]] = []
    while not core.idle:
        before = len(told)
        rows = core.step(told.append)
        assert told[before:] == ([rows] if rows else [])
    assert [sorted(row.id for row in rows) for rows in told] == [[0, 1, 2]] * 6


def test_prompts_that_come_beside_last_tokens_are_computed_together(folder: Path) -> None:
    core = core_at(folder)
    core.add(Generate(0, prompt(0), sampling=greedy(1)))
    assert core.step() == []  # its prompt
    computed = core.prompt_tokens
    rows: list[TokenRow] = []
    for number in (1, 2):  # its token begins to be computed; is read
        core.add(Generate(number, prompt(number), sampling=greedy(1)))
        rows += core.step()
    assert [row.id for row in rows] == [0]
    assert core.prompt_tokens == computed
    core.step()
    assert core.prompt_tokens == 3 * computed
    assert sorted(run(core, [])) == [1, 2]


def test_the_first_row_says_how_long_it_took_since_the_sequence_left_the_queue(
    folder: Path,
) -> None:
    core = core_at(folder, max_concurrent=1)
    start = time.perf_counter()
    rows = run(core, [Generate(i, prompt(i, 40), sampling=greedy(8)) for i in range(3)])
    whole_ms = (time.perf_counter() - start) * 1000
    first = [rows[i][0].prefill_ms for i in range(3)]
    assert all(first)
    assert sum(first) < whole_ms, "waiting for another one's tokens is not counted"
    assert not any(row.prefill_ms for each in rows.values() for row in each[1:])
