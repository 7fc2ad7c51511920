"""Bars: where they stand and what they say."""

from __future__ import annotations

import re
from itertools import pairwise

from fastmlx.admin.numbers import count
from fastmlx.admin.plot import BASE, LEFT, RIGHT, TOP, WIDTH, Line, Plot, axis, plot
from hypothesis import given
from hypothesis import strategies as st


def draw(*values: list[int], x_labels: list[str] | None = None) -> Plot:
    lines = [Line(f"model{i}", f"m{i}", each) for i, each in enumerate(values)]
    labels = [f"{i}:00" for i in range(len(values[0]))]
    return plot("Requests", lines, labels, x_labels or labels, count)


def bars(path: str) -> list[tuple[float, float, float, float]]:
    """x, top, width, height of each bar."""
    number = r"(-?[\d.]+)"
    found = re.findall(f"M{number} {number}h{number}v{number}h-{number}z", path)
    return [(float(x), float(y), float(w), float(h)) for x, y, w, h, _ in found]


@given(st.floats(0.1, 1e12))
def test_the_axis_holds_the_largest_value_with_a_few_round_lines(largest: float) -> None:
    top, step = axis(largest)
    assert top >= largest
    assert 1 <= round(top / step) <= 5
    assert f"{step:e}"[0] in "125"


@given(
    st.integers(1, 60).flatmap(
        lambda n: st.lists(
            st.lists(st.integers(0, 10**9), min_size=n, max_size=n), min_size=1, max_size=5
        )
    )
)
def test_bars_stay_inside_and_stack_without_overlap(
    values: list[list[int]],
) -> None:
    drawn = draw(*values)
    at: dict[float, list[tuple[float, float]]] = {}
    for stack, line in zip(drawn.stacks, values, strict=True):
        found = bars(stack.path)
        assert len(found) == sum(value > 0 for value in line)
        for x, y, width, height in found:
            assert x >= LEFT and x + width <= WIDTH - RIGHT + 0.1
            # A bar that would be too low to be seen is raised to 0.8, at most once per model.
            assert TOP - 0.8 * len(values) - 0.2 <= y and y + height <= BASE + 0.2
            at.setdefault(x, []).append((y, y + height))
    for spans in at.values():
        spans.sort()
        assert all(low[1] <= high[0] + 0.2 for low, high in pairwise(spans))


def test_each_bucket_with_a_value_says_what_is_in_it() -> None:
    drawn = draw([0, 3, 1], [0, 2, 0])
    assert [hover.text for hover in drawn.hovers] == [
        "1:00: 5\nmodel0 3\nmodel1 2",
        "2:00: 1\nmodel0 1",
    ]


def test_the_summary_tells_the_plot_in_words() -> None:
    assert draw([0, 3, 1], [0, 2, 0]).summary == "model0 4, model1 2. Most at 1:00: 5."
    assert draw([0, 0]).summary == "Nothing in this time."


def test_labels_at_the_edges_are_left_out_rather_than_cut() -> None:
    drawn = draw([1] * 60)
    assert drawn.x_ticks[0].at > LEFT + 8
    assert drawn.x_ticks[-1].at < WIDTH - 16


def test_the_axis_says_80k_and_not_80_0k() -> None:
    assert [tick.label for tick in draw([80_000]).y_ticks] == ["20k", "40k", "60k", "80k"]
