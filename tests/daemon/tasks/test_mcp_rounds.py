"""What the tool loop shows, keeps back and does next."""

from __future__ import annotations

import pytest
from fastmlx.daemon.protocol.events import (
    Event,
    Finished,
    FinishReason,
    Prefilled,
    TextDelta,
    ToolCallArguments,
    ToolCallStarted,
    Usage,
)
from fastmlx.daemon.tasks.mcp_rounds import Call, Round, total


def played(names: list[str], reason: FinishReason, number: int = 1) -> tuple[Round, list[Event]]:
    """A round in which the model calls these functions; those with a `__` are ours."""
    events: list[Event] = [Prefilled(10), TextDelta(0, "hm")]
    for place, name in enumerate(names):
        events += [
            ToolCallStarted(0, place, f"id{place}", name),
            ToolCallArguments(0, place, '{"a":'),
            ToolCallArguments(0, place, "1}"),
        ]
    events += [Finished(0, reason), Usage(prompt_tokens=10, output_tokens=5)]
    round_ = Round(number, {name for name in names if "__" in name})
    return round_, [shown for event in events if (shown := round_.take(event)) is not None]


def test_the_clients_calls_are_shown_as_if_ours_were_not_there() -> None:
    round_, shown = played(["s__x", "theirs", "s__y", "other"], "tool_calls")
    calls = [(e.call, e.name) for e in shown if isinstance(e, ToolCallStarted)]
    assert calls == [(0, "theirs"), (1, "other")]
    assert {e.call for e in shown if isinstance(e, ToolCallArguments)} == {0, 1}
    assert not any(isinstance(e, Finished | Usage) for e in shown)
    assert round_.calls == [Call("id0", "s__x", '{"a":1}'), Call("id2", "s__y", '{"a":1}')]
    assert round_.next(max_rounds=9, tokens_left=None).reason == "tool_calls"


@pytest.mark.parametrize(
    ("names", "reason", "number", "tokens_left", "ends"),
    [
        ([], "stop", 1, None, "stop"),
        (["theirs"], "tool_calls", 1, None, "tool_calls"),
        (["s__x"], "tool_calls", 1, None, None),
        (["s__x", "s__y"], "tool_calls", 3, 1, None),
        (["s__x"], "tool_calls", 4, None, "length"),
        (["s__x"], "tool_calls", 1, 0, "length"),
        (["s__x"], "length", 1, None, "length"),
        (["s__x", "theirs"], "tool_calls", 1, None, "tool_calls"),
    ],
)
def test_a_round_ends_the_turn_or_not(
    names: list[str],
    reason: FinishReason,
    number: int,
    tokens_left: int | None,
    ends: FinishReason | None,
) -> None:
    following = played(names, reason, number)[0].next(max_rounds=3, tokens_left=tokens_left)
    assert following.reason == ends
    skips = ends is not None and any("__" in name for name in names)
    assert following.skipped.startswith("not run") == skips


def test_calls_may_be_counted() -> None:
    round_, _ = played(["s__x", "s__y"], "tool_calls")
    assert round_.next(max_rounds=3, tokens_left=None, calls_left=2).reason is None
    assert round_.next(max_rounds=3, tokens_left=None, calls_left=1).reason == "length"


def test_a_later_round_is_not_the_beginning() -> None:
    assert isinstance(played([], "stop", 1)[1][0], Prefilled)
    assert not isinstance(played([], "stop", 2)[1][0], Prefilled)


def test_the_books_are_summed() -> None:
    one = Usage(prompt_tokens=10, output_tokens=5, cached_tokens=1, queue_s=0.5, ttft_s=1.0)
    two = Usage(prompt_tokens=20, output_tokens=7, cached_tokens=9, queue_s=0.1, ttft_s=0.2)
    assert total([one, two], 9.0) == Usage(
        prompt_tokens=30,
        output_tokens=12,
        cached_tokens=10,
        queue_s=0.5,
        ttft_s=1.0,
        duration_s=9.0,
    )
