"""Numbers as people read them."""

from __future__ import annotations

import math
from datetime import datetime

import pytest
from fastmlx.admin import numbers
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "–"),
        (0, "0"),
        (512, "512 bytes"),
        (1024, "1.00 KiB"),
        (6_657_199_308, "6.20 GiB"),
        (36 * 1024**3, "36.0 GiB"),
        (320 * 1024**2, "320 MiB"),
        (1023.99 * 1024**2, "1024 MiB"),
    ],
)
def test_sizes(number: float | None, text: str) -> None:
    assert numbers.size(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (12_345, "12.3k"),
        (999_499, "999k"),
        (999_960, "1.00M"),
        (4_560_000, "4.56M"),
        (2.5e13, "25.0T"),
    ],
)
def test_counts(number: float, text: str) -> None:
    assert numbers.count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (-3, "0 s"),
        (35.4, "35 s"),
        (59.6, "1 min"),
        (899, "14 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (100 * 3600, "4 d 4 h"),
        (math.inf, "never"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert numbers.duration(seconds) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "–"),
        (0, "0 ms"),
        (0.42, "0.4 ms"),
        (9.97, "10 ms"),
        (85.4, "85 ms"),
        (1240, "1.24 s"),
        (130_000, "2 min"),
    ],
)
def test_measured_times(ms: float | None, text: str) -> None:
    assert numbers.milliseconds(ms) == text


def test_rates_and_percentages() -> None:
    assert [numbers.rate(n) for n in (None, 0, 0.44, 37.2, 99.96, 1234.5)] == [
        *("–", "0", "0.4", "37.2", "100", "1,234")
    ]
    assert numbers.percent(0.124) == "12%"


def test_times_of_today_show_seconds_and_older_ones_the_day() -> None:
    now = datetime(2026, 11, 21, 14, 30)
    assert numbers.clock(datetime(2026, 11, 21, 9, 5, 7).timestamp() * 1000, now) == "09:05:07"
    assert numbers.clock(datetime(2026, 11, 3, 9, 5, 7).timestamp() * 1000, now) == "3 Nov 09:05"


@given(st.floats(0, 1e15))
def test_no_number_is_wider_than_its_column(number: float) -> None:
    assert len(numbers.count(number)) <= 5
    assert len(numbers.size(number)) <= 9
    assert len(numbers.rate(number % 1e5)) <= 7
