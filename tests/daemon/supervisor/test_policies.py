"""The pure decisions: eviction, blame, backoff, rates, books."""

from __future__ import annotations

import pytest
from fastmlx.daemon.supervisor.backoff import delay_s
from fastmlx.daemon.supervisor.blame import Suspect, Verdict, judge
from fastmlx.daemon.supervisor.eviction import Holder, choose
from fastmlx.daemon.supervisor.memory import Ledger, auto_limit_bytes, readable, total_bytes
from fastmlx.daemon.supervisor.rate import Rate
from hypothesis import given
from hypothesis import strategies as st


def holder(size: int, last_used: float, kept_by: str | None = None) -> Holder:
    return Holder(f"m{last_used}", size, last_used, kept_by)


def test_nobody_goes_when_it_fits():
    assert choose([holder(50, 1)], 50, 100) == []


def test_the_oldest_go_first_and_no_more_than_needed():
    holders = [holder(30, 3), holder(30, 1), holder(30, 2)]
    assert choose(holders, 30, 100) == [1]
    assert choose(holders, 60, 100) == [1, 2]


def test_who_is_kept_stays_even_when_oldest():
    assert choose([holder(60, 1, "pinned"), holder(40, 2)], 40, 100) == [1]
    assert choose([holder(60, 1, "1 running"), holder(40, 2)], 50, 100) is None


def test_a_small_model_is_spared_when_the_large_one_alone_is_enough():
    assert choose([holder(5, 1), holder(80, 2)], 60, 100) == [1]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=8),
    st.integers(0, 100),
    st.integers(0, 200),
)
def test_a_choice_always_fits_and_none_of_it_is_needless(
    sizes: list[tuple[int, bool]], need: int, limit: int
):
    holders = [holder(s, float(i), "pinned" if kept else None) for i, (s, kept) in enumerate(sizes)]
    chosen = choose(holders, need, limit)
    used = sum(h.size_bytes for h in holders)
    if chosen is None:
        assert used - sum(h.size_bytes for h in holders if h.kept_by is None) + need > limit
        return
    freed = [holders[i].size_bytes for i in chosen]
    assert used - sum(freed) + need <= limit
    assert all(holders[i].kept_by is None for i in chosen)
    assert all(used - sum(freed) + size + need > limit for size in freed)


def test_after_a_first_death_everything_is_replayed():
    suspects = [Suspect(1, 0, False), Suspect(2, 0, False)]
    assert judge(suspects) == Verdict([], [], [1, 2], [1, 2])


def test_the_only_one_that_was_there_twice_is_condemned():
    assert judge([Suspect(1, 1, False)]) == Verdict([1], [], [], [1])
    assert judge([Suspect(1, 1, False), Suspect(2, 0, False)]) == Verdict([1], [], [2], [1, 2])


def test_several_that_were_there_twice_are_tried_one_by_one():
    suspects = [Suspect(1, 1, False), Suspect(2, 1, False), Suspect(3, 0, False)]
    assert judge(suspects) == Verdict([], [1, 2], [3], [1, 2, 3])


def test_who_is_on_trial_when_the_engine_dies_is_guilty_and_nobody_else_is_counted():
    suspects = [Suspect(1, 2, False), Suspect(2, 2, True)]
    assert judge(suspects) == Verdict([2], [1], [], [2])


def test_a_third_death_without_a_trial_condemns_all_that_were_there():
    suspects = [Suspect(1, 2, False), Suspect(2, 2, False), Suspect(3, 0, False)]
    assert judge(suspects) == Verdict([1, 2], [], [3], [1, 2, 3])


@given(st.lists(st.integers(0, 3), max_size=6), st.integers(-1, 5))
def test_everyone_gets_exactly_one_verdict(deaths: list[int], on_trial: int):
    suspects = [Suspect(i, n, i == on_trial) for i, n in enumerate(deaths)]
    verdict = judge(suspects)
    everyone = [*verdict.condemned, *verdict.trial, *verdict.replay]
    assert sorted(everyone) == list(range(len(deaths)))
    assert all(deaths[i] >= 1 or i == on_trial for i in verdict.condemned)


@pytest.mark.parametrize(
    ("deaths", "full"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (9999, 30.0)]
)
def test_backoff_doubles_up_to_its_cap_and_jitter_takes_off_at_most_half(deaths: int, full: float):
    assert delay_s(deaths, base_s=0.5, cap_s=30.0, jitter=0.0) == full
    assert full / 2 < delay_s(deaths, base_s=0.5, cap_s=30.0, jitter=0.999) < full


def test_a_rate_is_of_the_last_seconds_only():
    rate = Rate()
    assert rate.per_s(100.0) == 0.0
    for tenth in range(40):
        rate.add(10, 100.0 + tenth / 10)
    assert rate.per_s(104.0) == pytest.approx(100.0)
    assert rate.per_s(108.0) < 100.0
    assert rate.per_s(120.0) == 0.0
    assert rate.total == 400


def test_an_engine_is_counted_with_the_larger_of_estimate_and_measurement():
    ledger: Ledger[str] = Ledger(100)
    ledger.measure("a", 70)  # not in the books
    assert ledger.used_bytes == 0
    ledger.reserve("a", 50)
    ledger.measure("a", 20)
    assert ledger.counted("a") == 50
    ledger.measure("a", 80)
    assert ledger.used_bytes == 80
    ledger.reserve("a", 50)  # a new life, a new estimate
    assert ledger.used_bytes == 50
    ledger.release("a")
    assert (ledger.used_bytes, ledger.holders()) == (0, [])


def test_the_automatic_limit_is_three_quarters_of_the_machine():
    assert auto_limit_bytes() == int(total_bytes() * 0.75)


def test_sizes_in_messages_are_short():
    assert readable(3 * 1024**3 // 2) == "1.5 GiB"
    assert readable(320 * 1024**2) == "320 MiB"
    assert readable(0) == "0 MiB"
