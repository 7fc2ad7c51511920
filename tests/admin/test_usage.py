"""Days, weeks and months of usage."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from fastmlx.admin.usage import NO_KEY, PERIODS, Period, days, draw, milliseconds_of, starts, table
from fastmlx.daemon.store.rows import Totals, Used
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module", params=["UTC", "Asia/Kathmandu", "America/New_York"])
def zone(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("zone")
@given(
    now=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1)),
    period=st.sampled_from(list(PERIODS.values())),
)
def test_now_is_in_the_last_span_and_spans_are_whole_days(now: datetime, period: Period) -> None:
    begins = starts(period, now)
    assert len(begins) == period.units + 1
    assert begins[-2] <= now < begins[-1]
    for each in begins:
        assert (each.hour, each.minute) == (0, 0)
        assert each.weekday() == 0 or period.unit != "week"
        assert each.day == 1 or period.unit != "month"
    assert all(at_ms % 900_000 == 0 for at_ms in milliseconds_of(begins))
    assert all(later > before for before, later in pairwise(begins))
    each_day = days(period, now)
    assert (each_day[0], each_day[-1]) == (begins[0], begins[-1])
    assert all(later - before == timedelta(days=1) for before, later in pairwise(each_day))


def test_sums_are_by_model_or_by_key() -> None:
    period = PERIODS["7d"]
    begins = starts(period, datetime(2026, 11, 21, 12))
    first, last = milliseconds_of(begins)[0], milliseconds_of(begins)[-2]
    used = [
        Used(first, "b", "", Totals(1, 0, 10, 4, 5)),
        Used(last, "a", "laptop", Totals(2, 1, 30, 0, 15)),
        Used(last, "b", "laptop", Totals(3, 0, 40, 0, 0)),
    ]
    by_model = draw(used, period, begins, "model", ["a", "b"])
    assert by_model.totals == Totals(6, 1, 80, 4, 20)
    assert [(row.name, row.share) for row in by_model.rows] == [("b", 0.55), ("a", 0.45)]
    assert by_model.legend == [("a", "m0"), ("b", "m1")]
    assert [(row.label, row.name) for row in by_model.spans] == [
        ("Sat 21 Nov", "a"),
        ("Sat 21 Nov", "b"),
        ("Sun 15 Nov", "b"),
    ]
    by_key = draw(used, period, begins, "key", [])
    assert {row.name: row.totals.requests for row in by_key.rows} == {"laptop": 5, NO_KEY: 1}
    assert draw([], period, begins, "key", []).plots == []


def test_a_name_is_never_a_formula_in_a_spreadsheet() -> None:
    at_ms = int(datetime(2026, 11, 21).timestamp() * 1000)
    lines = list(csv.reader(table([Used(at_ms, "=1+1", '@"x', Totals(1, 0, 2, 0, 3))]).split()))
    assert lines[1] == ["2026-11-21", "'=1+1", "'@\"x", "1", "0", "2", "0", "3"]
