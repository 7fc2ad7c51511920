"""Sizes and durations are read as people write them, and written back the same."""

from __future__ import annotations

import math

import pytest
from fastmlx.config.units import Size, format_duration, parse_bytes, parse_duration, parse_size
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("4GiB", 4 << 30),
        ("4 gib", 4 << 30),
        ("500MB", 500_000_000),
        ("1.5KiB", 1536),
        ("7B", 7),
        ("2TB", 2_000_000_000_000),
        ("0", 0),
        (0, 0),
        ("0GiB", 0),
    ],
)
def test_sizes(text: object, num_bytes: int) -> None:
    assert parse_size(text) == Size(num_bytes=num_bytes)
    assert parse_size(text).of(123) == num_bytes


def test_a_share_is_of_a_total() -> None:
    assert parse_size("25%").of(1000) == 250
    assert parse_size("12.5 %").of(1000) == 125


@pytest.mark.parametrize(
    "wrong",
    [
        *["", "GiB", "4", "-4GiB", "4GiB extra", "101%", "4XB", "1e3MB", "9999999TiB", "٤GiB"],
        *[4, 4.5, True, None, [], {}, "1" * 30 + "B"],
    ],
)
def test_what_is_no_size_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"must|needs|larger|unit"):
        parse_size(wrong)


def test_a_body_has_no_share() -> None:
    assert parse_bytes("64MiB") == 64 << 20
    with pytest.raises(ValueError, match="percentage"):
        parse_bytes("5%")
    with pytest.raises(ValueError, match="needs a unit"):
        parse_bytes(1024)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1.5h", 5400),
        ("1d", 86400),
        ("250ms", 0.25),
        ("never", math.inf),
        ("Never", math.inf),
        (math.inf, math.inf),
        (0, 0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "wrong", ["", "90", 90, 1.5, "-1s", "1:30", "1m30s", "5 years", True, None]
)
def test_what_is_no_duration_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"must|needs|unit"):
        parse_duration(wrong)


@given(st.integers(0, 1 << 60))
def test_a_size_that_is_written_is_read_back(num_bytes: int) -> None:
    assert parse_size(str(Size(num_bytes=num_bytes))).num_bytes == num_bytes


@given(st.integers(0, 3650 * 86400 * 1000))
def test_a_duration_that_is_written_is_read_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none()))
def test_nothing_but_value_errors_come_out(value: object) -> None:
    for parse in (parse_size, parse_bytes, parse_duration):
        try:
            parse(value)
        except ValueError as error:
            assert str(error)
