"""What a key may have in a day."""

from __future__ import annotations

import time
from typing import Any

import pytest
from fastmlx.daemon.access.budgets import Budgets, Day, Spent
from fastmlx.daemon.access.keys import Key
from fastmlx.daemon.protocol.errors import BudgetSpent
from hypothesis import given
from hypothesis import strategies as st

NOON = time.mktime((2026, 6, 1, 12, 0, 0, 0, 0, -1))


def key(**limits: Any) -> Key:
    return Key(name="k", digest="", prefix="", **limits)


def test_requests_and_tokens_run_out_and_come_back_at_midnight() -> None:
    now = [NOON]
    budgets = Budgets(lambda: now[0])
    bounded = key(requests_per_day=2, tokens_per_day=100)
    budgets.begin(bounded)
    budgets.end("k", 99)
    budgets.begin(bounded)  # one token is left: it may begin, and is finished
    budgets.end("k", 50)
    with pytest.raises(BudgetSpent, match="2 of its 2 requests") as refused:
        budgets.begin(bounded)
    assert refused.value.retry_after_s == 12 * 3600
    with pytest.raises(BudgetSpent, match="149 of its 100 tokens"):
        budgets.begin(key(tokens_per_day=100))
    budgets.begin(key())  # without a bound
    now[0] += 12 * 3600
    budgets.begin(bounded)
    assert budgets.spent("k") == Spent(1, 0)


def test_what_was_spent_before_a_restart_counts() -> None:
    budgets = Budgets(lambda: NOON)
    budgets.begin(key())
    budgets.restore(Day.of(NOON), {"k": Spent(4, 40)})
    budgets.restore(Day.of(NOON - 86_400), {"k": Spent(100, 1000)})  # yesterday's
    assert budgets.spent("k") == Spent(5, 40)


@given(st.integers(0, 4_000_000_000))
def test_every_moment_has_its_day(now: int) -> None:
    day = Day.of(now)
    assert day.start_s <= now < day.end_s
    assert 82_000 < day.end_s - day.start_s < 91_000
