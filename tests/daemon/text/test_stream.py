"""From rows of tokens to the events that a client sees."""

from __future__ import annotations

import random

import pytest
from fastmlx.daemon.protocol.events import (
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCallArguments,
    ToolCallStarted,
)
from fastmlx.daemon.protocol.wire import TokenRow
from fastmlx.daemon.text.model_text import ModelText
from fastmlx.daemon.text.parsing import tool
from fastmlx.daemon.text.stream import TextStream
from hypothesis import given
from hypothesis import strategies as st

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
END = "<|im_end|>"
TOOLS = (tool("weather", city="string"),)


def rows(text: ModelText, output: str, finish: str = "stop", seed: int | None = None):
    """The engine's rows for an output: one token each, or random groups; the stop token last."""
    tokens = text.tokenizer.encode(output + (END if finish == "stop" else ""))
    chance = random.Random(seed)
    while tokens:
        size = 1 if seed is None else chance.randint(1, 4)
        head, tokens = tokens[:size], tokens[size:]
        logprobs = [[TokenLogprob(t, -0.5), TokenLogprob(t, -0.5)] for t in head]
        yield TokenRow(3, head, None if tokens else finish, logprobs=logprobs)


def run(stream: TextStream, source) -> list[Event]:
    return [event for row in source for event in stream.push(row)]


def said(events: list[Event]) -> tuple[str, str, str]:
    """Reasoning, text, arguments."""
    reasoning = "".join(e.text for e in events if isinstance(e, ReasoningDelta))
    text = "".join(e.text for e in events if isinstance(e, TextDelta))
    arguments = "".join(e.arguments for e in events if isinstance(e, ToolCallArguments))
    return reasoning, text, arguments


def test_plain_text_streams_token_by_token(chat_text: ModelText) -> None:
    stream = TextStream(2, chat_text)
    events = run(stream, rows(chat_text, "Hello world, Grüße 😀"))
    assert said(events) == ("", "Hello world, Grüße 😀", "")
    assert events[-1] == Finished(2, "stop")
    assert stream.output_tokens == len(chat_text.tokenizer.encode("Hello world, Grüße 😀")) + 1
    assert stream.reasoning_tokens == 0
    assert not stream.stopped


@given(output=st.text(), seed=st.none() | st.integers(), finish=st.sampled_from(["stop", "length"]))
def test_no_text_is_lost_or_changed(
    chat_text: ModelText, output: str, seed: int | None, finish: str
) -> None:
    source = list(rows(chat_text, output, finish, seed))
    if not source:
        return
    plain = TextStream(0, chat_text, chat=False)
    tools = TextStream(0, chat_text, tools=TOOLS, stop=("no such stop",), logprobs=0)
    for stream in (plain, tools):
        events = run(stream, source)
        assert said(events) == ("", output, "")
        assert events[-1] == Finished(0, finish)  # type: ignore[arg-type]


def test_a_stop_string_ends_the_answer_and_the_sequence(chat_text: ModelText) -> None:
    stream = TextStream(0, chat_text, stop=("two", "\n"))
    events = run(stream, rows(chat_text, "one two three"))
    assert said(events) == ("", "one ", "")
    assert events[-1] == Finished(0, "stop", "two")
    assert stream.stopped
    assert stream.output_tokens < len(chat_text.tokenizer.encode("one two three"))


def test_a_beginning_of_a_stop_string_comes_out_at_the_end(chat_text: ModelText) -> None:
    stream = TextStream(0, chat_text, stop=("threefold",))
    events = run(stream, rows(chat_text, "one two three", "length"))
    assert said(events) == ("", "one two three", "")
    assert events[-1] == Finished(0, "length")
    assert not stream.stopped


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_thinking_is_told_from_the_answer(chat_text: ModelText, seed: int | None) -> None:
    opened = TextStream(0, chat_text, reasoning_open=True)
    events = run(opened, rows(chat_text, "Easy.\n</think>\n\nFour.", seed=seed))
    assert said(events) == ("Easy.", "Four.", "")
    count = len(chat_text.tokenizer.encode("Easy.\n</think>"))
    assert opened.reasoning_tokens == count

    own = TextStream(0, chat_text)
    events = run(own, rows(chat_text, "<think>\nEasy.\n</think>\n\nFour.", seed=seed))
    assert said(events) == ("Easy.", "Four.", "")


def test_stop_strings_do_not_end_the_thinking_or_a_call(chat_text: ModelText) -> None:
    stream = TextStream(0, chat_text, stop=("\n", "Paris"), tools=TOOLS)
    events = run(stream, rows(chat_text, f"<think>\nIn Paris?\n</think>\n\nI look.{CALL}"))
    assert said(events) == ("In Paris?", "I look.", '{"city": "Paris"}')
    assert events[-1] == Finished(0, "tool_calls")


def test_a_tool_call_is_started_before_its_arguments_are_complete(chat_text: ModelText) -> None:
    stream = TextStream(0, chat_text, tools=TOOLS)
    seen: list[Event] = []
    number = started_after = pieces = 0
    for number, row in enumerate(rows(chat_text, CALL)):
        events = stream.push(row)
        seen += events
        if any(isinstance(event, ToolCallStarted) for event in events):
            started_after = number
        pieces += sum(isinstance(event, ToolCallArguments) for event in events)
    assert said(seen) == ("", "", '{"city": "Paris"}')
    assert pieces > 2
    assert started_after < number - 5
    assert seen[-1] == Finished(0, "tool_calls")


def test_a_call_cut_off_by_the_limit_is_closed_and_finishes_as_length(
    chat_text: ModelText,
) -> None:
    stream = TextStream(0, chat_text, tools=TOOLS)
    events = run(stream, rows(chat_text, CALL[: CALL.index("is")], "length"))
    assert said(events)[2] == '{"city": "Par"}'
    assert events[-1] == Finished(0, "length")


def test_without_tools_a_call_is_text(chat_text: ModelText) -> None:
    for stream in (TextStream(0, chat_text), TextStream(0, chat_text, chat=False, tools=TOOLS)):
        events = run(stream, rows(chat_text, CALL))
        assert said(events) == ("", CALL, "")
        assert events[-1] == Finished(0, "stop")


def test_completions_show_no_special_tokens_and_parse_nothing(chat_text: ModelText) -> None:
    stream = TextStream(0, chat_text, chat=False)
    events = run(stream, rows(chat_text, "<think>a</think>b", "length"))
    assert said(events) == ("", "ab", "")  # the tags are special tokens of this tokenizer


@pytest.mark.parametrize("stop", [(), ("no such stop",)])
def test_log_probabilities_come_with_their_text(
    chat_text: ModelText, stop: tuple[str, ...]
) -> None:
    stream = TextStream(0, chat_text, logprobs=1, stop=stop)
    output = "Hello 😀 world"
    entries = []
    for event in run(stream, rows(chat_text, output)):
        if isinstance(event, TextDelta):
            together = b"".join(entry.token_bytes for entry in event.logprobs)
            assert stop or together == event.text.encode()
            entries += event.logprobs
    assert b"".join(entry.token_bytes for entry in entries) == output.encode()
    assert len(entries) == len(chat_text.tokenizer.encode(output))
    assert entries[0].logprob == -0.5
    assert entries[0].top == ((entries[0].token, entries[0].token_bytes, -0.5),)


def test_log_probabilities_of_held_back_tokens_are_delivered_at_the_end(
    chat_text: ModelText,
) -> None:
    stream = TextStream(0, chat_text, logprobs=0, tools=TOOLS)
    events = run(stream, rows(chat_text, f"ok{CALL}"))
    entries = [e for event in events if isinstance(event, TextDelta) for e in event.logprobs]
    assert len(entries) == len(chat_text.tokenizer.encode(f"ok{CALL}"))
    assert all(entry.top == () for entry in entries)


def test_log_probabilities_of_thinking_are_not_reported(chat_text: ModelText) -> None:
    stream = TextStream(0, chat_text, logprobs=0)
    events = run(stream, rows(chat_text, "<think>\nHello.\n</think>\n\nworld"))
    entries = [e for event in events if isinstance(event, TextDelta) for e in event.logprobs]
    assert "".join(entry.token for entry in entries) == "\n\nworld"


def test_nothing_follows_the_end(chat_text: ModelText) -> None:
    stream = TextStream(0, chat_text, stop=("one",))
    assert stream.push(TokenRow(1, chat_text.tokenizer.encode("one"))) == [
        Finished(0, "stop", "one")
    ]
    assert stream.push(TokenRow(1, chat_text.tokenizer.encode("two"), "length")) == []


def test_an_immediate_end_of_text_is_an_empty_answer(chat_text: ModelText) -> None:
    stream = TextStream(0, chat_text, tools=TOOLS)
    assert run(stream, rows(chat_text, "")) == [Finished(0, "stop")]
    assert stream.output_tokens == 1


def test_a_used_up_budget_stops_the_stream_until_the_thinking_is_ended(
    chat_text: ModelText,
) -> None:
    source = [*rows(chat_text, "one two three four five six</think>never seen")]
    stream = TextStream(0, chat_text, reasoning_open=True, thinking_budget=5)
    events = run(stream, source)
    assert stream.over_budget
    assert stream.output_tokens == stream.reasoning_tokens == 5
    stream.over_budget = False
    events += stream.push(TokenRow(3, chat_text.thinking_end()))
    events += run(stream, rows(chat_text, "The answer."))
    reasoning, text, _ = said(events)
    assert reasoning
    assert "one two three four five six".startswith(reasoning.rstrip("\n"))
    assert text == "The answer."
    assert events[-1] == Finished(0, "stop")
    assert not stream.over_budget


def test_thinking_within_its_budget_is_left_alone(chat_text: ModelText) -> None:
    stream = TextStream(0, chat_text, reasoning_open=True, thinking_budget=100)
    events = run(stream, rows(chat_text, "one two</think>Done."))
    assert said(events) == ("one two", "Done.", "")
