"""What a request did when."""

from __future__ import annotations

from typing import Any

from fastmlx.admin.timeline import settings, timeline
from fastmlx.daemon.store.rows import UsageRow
from hypothesis import given
from hypothesis import strategies as st


def row(at_ms: int = 0, **fields: Any) -> UsageRow:
    return UsageRow(at_ms=at_ms, request_id="r", model="m", dialect="d", **fields)


def test_the_parts_of_a_request_follow_each_other() -> None:
    drawn = timeline(
        [
            row(
                queue_ms=30,
                load_ms=20,
                ttft_ms=100,
                duration_ms=500,
                prompt_tokens=50,
                cached_tokens=40,
                output_tokens=11,
            )
        ]
    )
    assert [(span.name, span.start_ms, span.ms) for span in drawn.spans] == [
        ("prompt made, queued", 0, 10),
        ("waited for the model", 10, 20),
        ("prefill", 30, 70),
        ("decode", 100, 400),
    ]
    assert [span.note for span in drawn.spans[2:]] == [
        "10 tokens, 40 more from the cache",
        "11 tokens, 25.0 a second",
    ]
    assert (drawn.total_ms, drawn.rounds) == (500, 1)


def test_what_ended_before_its_first_token_did_not_compute_for_sure() -> None:
    for ended, name in (
        (row(duration_ms=100, finish_reason="cancelled"), "until it ended"),
        (row(duration_ms=100, error="timeout: x"), "until it ended"),
        (row(duration_ms=100, finish_reason=None), "computed"),  # vectors
    ):
        (span,) = timeline([ended]).spans
        assert (span.name, span.ms) == (name, 100)


def test_between_rounds_tools_run() -> None:
    rows = [row(1000, ttft_ms=10, duration_ms=100), row(1400, ttft_ms=10, duration_ms=50)]
    names = [span.name for span in timeline(rows).spans]
    assert names == ["prefill", "decode", "tools", "prefill", "decode"]
    tools = timeline(rows).spans[2]
    assert (tools.start_ms, tools.ms, timeline(rows).total_ms) == (100, 300, 450)


times = st.floats(0, 1e6)


@given(
    st.builds(row, queue_ms=times, load_ms=times, ttft_ms=st.none() | times, duration_ms=times),
    st.builds(row, at_ms=st.integers(0, 10**6), duration_ms=times),
)
def test_no_part_is_negative_whatever_was_measured(first: UsageRow, second: UsageRow) -> None:
    drawn = timeline([first, second])
    assert all(span.ms >= 0 and span.start_ms >= 0 for span in drawn.spans)


def test_sampling_that_was_cut_is_left_out() -> None:
    assert [tuple(each) for each in settings(row(sampling='{"top_k":5}'))] == [("top_k", "5")]
    assert settings(row(sampling='{"top_k":')) == settings(row()) == []
