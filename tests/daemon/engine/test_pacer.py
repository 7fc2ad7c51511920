"""Long prompts are computed in chunks that the running streams hardly notice."""

from __future__ import annotations

import pytest
from fastmlx.daemon.engine.budget import FIRST_SHORT_TOKENS, FIRST_TOKENS, MOST_DEBT
from fastmlx.daemon.engine.cost import Cost, Work, work_of
from fastmlx.daemon.engine.fit import Fit
from fastmlx.daemon.engine.pacer import AUTO_GAP, LEAST_SHARE, SAVED_SHARES, SHORT_SHARES, Pacer
from hypothesis import given
from hypothesis import strategies as st

GUEST_TOKENS = 128
SAVING = 1 + (1 + SAVED_SHARES) * (AUTO_GAP - 1)  # decode steps, after a step that saved


def compute(pacer: Pacer, cost: Cost, decode_s: float, prompt_tokens: int) -> list[float]:
    """The gaps of running streams on a machine of these costs while a prompt is computed."""
    gaps: list[float] = []
    done = 0
    while done < prompt_tokens:
        [tokens] = pacer.budget(10_000).grants([(prompt_tokens, done)])
        work = work_of(tokens, done, forwards=int(tokens > GUEST_TOKENS))
        gaps.append(decode_s + cost.seconds(work))
        pacer.observe(gaps[-1], work)
        done += tokens
    return gaps


@given(
    decode_s=st.floats(1e-3, 0.1),
    tokens_per_decode=st.floats(5, 2000),
    context_that_doubles=st.floats(500, 100_000),
    prompt_tokens=st.integers(600, 30_000),
)
def test_gaps_stay_within_the_bound_on_a_machine_of_any_speed(
    decode_s: float, tokens_per_decode: float, context_that_doubles: float, prompt_tokens: int
) -> None:
    token_s = decode_s / tokens_per_decode
    cost = Cost(decode_s * 0.8, token_s, token_s / context_that_doubles)
    pacer = Pacer(GUEST_TOKENS)
    for _ in range(5):
        pacer.observe(decode_s, Work())
    gaps = compute(pacer, cost, decode_s, min(prompt_tokens, int(50 * tokens_per_decode)))
    # A prompt may turn out to be a short one; the first chunks are guesses, and so is the first one
    # with a forward of its own. In steps without a choice there is one token.
    single = decode_s + cost.seconds(work_of(1, prompt_tokens))
    bound = max(SAVING, 1 + SHORT_SHARES * (AUTO_GAP - 1)) * decode_s + cost.forward_s
    assert max(gaps[2:], default=0.0) <= max(bound, single) * 1.1
    assert sum(gaps[2:]) <= 1.1 * AUTO_GAP * decode_s * len(gaps[2:]) + 10 * max(gaps)


def test_the_cost_of_a_long_context_is_foreseen_not_suffered() -> None:
    decode_s = 0.003
    cost = Cost(0.002, 0.0002, 0.0002 / 500)
    pacer = Pacer(GUEST_TOKENS)
    for _ in range(5):
        pacer.observe(decode_s, Work())
    gaps = compute(pacer, cost, decode_s, 4096)
    assert max(gaps[1:]) <= 1.3 * SAVING * decode_s
    assert sum(gaps[5:]) / len(gaps[5:]) >= 0.85 * AUTO_GAP * decode_s, "time is left unused"


@pytest.mark.parametrize("token_decodes", [0.3, 0.9, 2.5])
def test_the_others_keep_their_rate_where_one_token_takes_longer_than_its_time(
    token_decodes: float,
) -> None:
    decode_s = 0.01
    pacer = Pacer(GUEST_TOKENS)
    for _ in range(5):
        pacer.observe(decode_s, Work())
    gaps = compute(pacer, Cost(0.0, token_decodes * decode_s, 0.0), decode_s, 500)
    assert max(gaps[3:]) <= max(1.3 * SAVING, 1 + token_decodes) * decode_s
    assert decode_s * len(gaps) / sum(gaps) >= 0.6


def test_one_slow_step_without_prefill_does_not_make_room_for_more() -> None:
    pacer = Pacer(GUEST_TOKENS)
    for step_s in (0.01, 0.01, 0.01):
        pacer.observe(step_s, Work())
    for _ in range(5):
        pacer.observe(0.02, work_of(50, 0))
    before = pacer.budget(10_000).grants([(9000, 0)])
    pacer.observe(0.5, Work())
    assert pacer.budget(10_000).grants([(9000, 0)]) == before


def test_a_gap_in_seconds_is_kept_as_soon_as_it_is_set() -> None:
    cost = Cost(0.0, 0.0001, 0.0)
    pacer = Pacer(GUEST_TOKENS)
    pacer.observe(0.01, Work())
    compute(pacer, cost, 0.01, 2000)
    pacer.max_gap_s = 0.012
    assert max(compute(pacer, cost, 0.01, 20_000)[3:]) == pytest.approx(0.012, rel=0.05)
    pacer.max_gap_s = 0.001  # less than a step without prefill takes
    slowest = compute(pacer, cost, 0.01, 20_000)[-2]
    assert slowest == pytest.approx(0.01 * (1 + LEAST_SHARE), rel=0.05)


def test_nothing_is_learned_from_a_step_that_cannot_be_compared() -> None:
    pacer = Pacer(GUEST_TOKENS)
    pacer.observe(0.5, work_of(100, 0))
    pacer.observe(0.0, Work())
    assert pacer.budget(10_000).grants([(FIRST_SHORT_TOKENS + 1, 0)]) == [FIRST_TOKENS]


def test_short_prompts_are_computed_whole_and_in_the_order_of_their_arrival() -> None:
    pacer = Pacer(GUEST_TOKENS)
    pacer.observe(0.01, Work())
    for _ in range(20):
        pacer.observe(0.02, work_of(100, 0))
    *equal, shorter, long = pacer.budget(10_000).grants([(60, 0)] * 6 + [(20, 0), (5000, 0)])
    assert equal == sorted(equal, reverse=True)
    assert set(equal) == {60, 0}
    assert shorter == 0, "it does not overtake"
    assert 0 < long < 100, "long prompts have a time of their own"
    several = pacer.budget(10_000).grants([(5000, 0)] * 3)
    assert sum(several) > 2 * long


def test_streams_that_have_just_begun_wait_for_those_that_came_with_them() -> None:
    pacer = Pacer(GUEST_TOKENS)
    pacer.observe(0.002, Work())
    for _ in range(20):
        pacer.observe(0.004, work_of(40, 0, forwards=1))

    def granted(*, beginning: bool) -> int:
        return sum(pacer.budget(10_000, beginning=beginning).grants([(40, 0)] * 30))

    usual = granted(beginning=False)
    assert 0 < usual <= 160
    assert granted(beginning=True) == 1200
    pacer.max_gap_s = AUTO_GAP * 0.002  # somebody has said what is wanted
    assert granted(beginning=True) == usual


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 4000), st.integers(0, 9999)), max_size=50)
)
def test_prefill_always_goes_on(times: list[tuple[float, int, int]]) -> None:
    pacer = Pacer(GUEST_TOKENS)
    for step_s, tokens, offset in times:
        pacer.observe(step_s, work_of(tokens, offset, forwards=1) if tokens else Work())
        for prompt_tokens in (1, 50, 5000, 50_000):
            asked = (prompt_tokens, prompt_tokens // 2)
            soon = [pacer.budget(10_000).grants([asked])[0] for _ in range(MOST_DEBT + 4)]
            pause = len(times) > 40
            assert pause or any(soon)


@given(
    st.tuples(*[st.floats(1e-6, 1e-2)] * 3),
    st.lists(st.tuples(*[st.floats(0, 100)] * 3), min_size=12, max_size=30),
)
def test_costs_are_found_from_mixtures(
    costs: tuple[float, float, float], mixtures: list[tuple[float, float, float]]
) -> None:
    fit = Fit((1.0, 1.0, 1.0))
    for mixture in mixtures:
        fit.add(mixture, sum(c * x for c, x in zip(costs, mixture, strict=True)))
    found = fit.solve()
    assert all(coefficient >= 0 for coefficient in found)
    newest = sum(c * x for c, x in zip(found, mixtures[-1], strict=True))
    true = sum(c * x for c, x in zip(costs, mixtures[-1], strict=True))
    largest = max(sum(c * x for c, x in zip(costs, m, strict=True)) for m in mixtures)
    assert newest == pytest.approx(true, abs=0.2 * largest + 1e-9)


def test_a_long_prompt_of_which_little_is_new_is_a_short_one() -> None:
    pacer = Pacer(GUEST_TOKENS)
    asked = [(9000, 8950), (9000, 8950)]
    assert pacer.budget(10_000).grants(asked, known=[0, 8950])[1] == 50


def test_what_is_left_of_a_long_prompt_is_not_computed_at_once_after_slow_steps() -> None:
    """Whatever else the machine did, so that a step without prefill seemed to take a second."""
    pacer = Pacer(GUEST_TOKENS)
    pacer.observe(0.01, Work())
    for _ in range(20):
        pacer.observe(0.016, work_of(8, 2500))
    for _ in range(5):
        pacer.observe(1.0, Work())
    assert pacer.budget(10_000).grants([(3072, 2534)])[0] <= 16
    assert pacer.budget(10_000).grants([(538, 0)]) == [538]
