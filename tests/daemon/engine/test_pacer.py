"""Long prompts are computed in chunks that the running streams hardly notice."""

from __future__ import annotations

from fastmlx.daemon.engine.pacer import FIRST_TOKENS, GAP, LEAST_TOKENS, Pacer
from hypothesis import given
from hypothesis import strategies as st


@given(
    decode_s=st.floats(1e-3, 0.1),
    tokens_per_decode=st.floats(5, 2000),
    prompt=st.integers(500, 60_000),
)
def test_gaps_stay_within_the_bound_on_a_machine_of_any_speed(
    decode_s: float, tokens_per_decode: float, prompt: int
) -> None:
    token_s = decode_s / tokens_per_decode
    pacer = Pacer()
    for _ in range(5):
        pacer.observe(decode_s, 0)
    gaps = []
    while prompt > 0:
        tokens = min(prompt, pacer.tokens)
        gaps.append(decode_s + tokens * token_s)
        pacer.observe(gaps[-1], tokens)
        prompt -= tokens
    floor = decode_s + LEAST_TOKENS * token_s
    # The first chunk is a guess, the following ones are measured.
    assert max(gaps[1:], default=0.0) <= max(GAP * decode_s, floor) * 1.05
    if len(gaps) > 20 and tokens_per_decode < 500:
        assert gaps[15] >= min(GAP * decode_s, floor) * 0.6, "time for prefill is left unused"


def test_nothing_is_learned_from_a_step_that_cannot_be_compared() -> None:
    pacer = Pacer()
    pacer.observe(0.5, 100)
    pacer.observe(0.0, 0)
    assert pacer.tokens == FIRST_TOKENS


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 4000)), max_size=50))
def test_prefill_always_goes_on(times: list[tuple[float, int]]) -> None:
    pacer = Pacer()
    for step_s, tokens in times:
        pacer.observe(step_s, tokens)
        assert pacer.tokens >= LEAST_TOKENS
