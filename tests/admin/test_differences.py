"""What two people made of one text."""

from __future__ import annotations

from fastmlx.admin.differences import KEPT, EditedTexts, differences, merged
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.lists(st.sampled_from("abcdef"), max_size=12).map(
    lambda lines: "".join(f"{x}\n" for x in lines)
)


def test_changes_of_different_lines_are_put_together() -> None:
    base = "a\nb\nc\nd\ne\n"
    assert merged(base, "A\nb\nc\nd\ne\n", "a\nb\nc\nd\ne\nf\n") == "A\nb\nc\nd\ne\nf\n"
    assert merged(base, "a\nb\nd\ne\n", "a\nb\nc\nd\nx\ne\n") == "a\nb\nd\nx\ne\n"
    assert merged(base, "a\nX\nc\nd\ne\n", "a\nY\nc\nd\ne\n") is None
    assert merged(base, "a\nX\nc\nd\ne\n", "a\nX\nc\nd\ne\n") == "a\nX\nc\nd\ne\n"


@given(TEXTS, TEXTS, TEXTS)
def test_one_change_alone_is_that_change_and_no_line_is_made_up(
    base: str, mine: str, theirs: str
) -> None:
    assert merged(base, mine, base) == mine
    assert merged(base, base, theirs) == theirs
    assert merged(base, mine, mine) == mine
    both = merged(base, mine, theirs)
    if both is not None:
        assert set(both) <= set(mine) | set(theirs)


def test_a_difference_shows_what_went_and_what_came() -> None:
    lines = differences("a\nb\nc\nd\ne\nf\n", "a\nb\nX\nd\ne\nf\n")
    assert [line for line in lines if line.kind in ("gone", "new")] == [("gone", "c"), ("new", "X")]


def test_forms_that_are_too_old_are_forgotten() -> None:
    texts = EditedTexts()
    first = texts.keep("a\n")
    assert [line.text for line in texts.since(first, "b\n") if line.kind == "new"] == ["b"]
    for number in range(KEPT):
        texts.keep(str(number))
    assert texts.since(first, "b\n") == []
    assert texts.merged(first, "x", "y") is None
