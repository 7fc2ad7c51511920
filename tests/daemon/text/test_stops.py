"""Stop strings are found wherever the text is cut, and their beginnings never leak."""

from __future__ import annotations

import time
from itertools import pairwise

from fastmlx.daemon.text.stops import StopMatcher
from hypothesis import given
from hypothesis import strategies as st

LETTERS = st.text("ab\n", max_size=30)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=5), max_size=5).map(tuple)


def plainly(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """What the docstring says, in the slowest way: the first end, then the longest."""
    for end in range(len(text) + 1):
        matches = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if matches:
            stop = max(matches, key=len)
            return text[: end - len(stop)], stop
    return text, None


def run(pieces: list[str], stops: tuple[str, ...]) -> tuple[str, str | None]:
    matcher = StopMatcher(stops)
    text = "".join([matcher.push(piece) for piece in pieces])
    return text + matcher.flush(), matcher.matched


@given(text=LETTERS, stops=STOPS, cuts=st.sets(st.integers(0, 30)))
def test_cuts_do_not_matter(text: str, stops: tuple[str, ...], cuts: set[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert run(pieces, stops) == plainly(text, stops)


@given(text=LETTERS, stops=STOPS)
def test_only_what_may_begin_a_stop_string_is_held_back(text: str, stops: tuple[str, ...]) -> None:
    matcher = StopMatcher(stops)
    seen = matcher.push(text)
    if matcher.matched is None:
        held = text[len(seen) :]
        assert text.startswith(seen)
        assert not held or any(stop.startswith(held) for stop in stops)


def test_text_before_the_stop_string_is_kept_and_the_rest_dropped() -> None:
    matcher = StopMatcher(("END", "\n\n"))
    assert matcher.push("one\n") == "one"
    assert matcher.push("two E") == "\ntwo "
    assert matcher.push("NDless") == ""
    assert matcher.matched == "END"
    assert matcher.push("more") == ""


def test_the_match_that_is_complete_first_wins() -> None:
    assert run(["say abcd"], ("abcd", "bc")) == ("say a", "bc")
    assert run(["say abcd"], ("bcd", "abcd", "d")) == ("say ", "abcd")


def test_an_empty_stop_string_stops_nothing() -> None:
    assert run(["text"], ("",)) == ("text", None)


def test_thousands_of_stop_strings_cost_no_more_than_one() -> None:
    many = tuple(f"stop number {number}" for number in range(3000))
    text = "stop numbe stop number x " * 400

    def seconds(stops: tuple[str, ...]) -> float:
        StopMatcher(stops)  # the automaton is built once and kept
        start = time.perf_counter()
        assert run([text], stops) == (text, None)
        return time.perf_counter() - start

    # Wide of the truth, which is about 1: thousands of searches would be far beyond.
    assert min(seconds(many) for _ in range(3)) < 20 * min(seconds(many[:1]) for _ in range(3))
