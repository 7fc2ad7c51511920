"""What Ollama's clients write, read: durations, names, options, ids of calls."""

from __future__ import annotations

import math
from typing import Any

import pytest
from fastmlx.config.settings import ModelSpec, Settings
from fastmlx.daemon.api.keep_alive import read_keep_alive, read_kept
from fastmlx.daemon.api.ollama_answer import Answer, Envelope
from fastmlx.daemon.api.ollama_fields import (
    model_name,
    read_options,
    sampling,
)
from fastmlx.daemon.api.ollama_messages import read_messages, read_tools
from fastmlx.daemon.protocol.errors import BadRequest
from fastmlx.daemon.protocol.events import ToolCallArguments, ToolCallStarted
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        *((None, None), (0, 0), (0.5, 0.5), (-1, math.inf), (10**12, math.inf)),
        *(("300", 300), ("-1", math.inf), ("5m", 300), ("1h30m", 5400), ("1.5h", 5400)),
        *(("300ms", 0.3), ("-1m", math.inf), ("+2s", 2), ("0s", 0)),
    ],
)
def test_keep_alive_is_seconds_or_gos_duration(said: Any, seconds: float | None) -> None:
    assert read_keep_alive(said) == (seconds if seconds is None else pytest.approx(seconds))


@given(st.text())
def test_any_other_text_is_refused(said: str) -> None:
    try:
        seconds = read_keep_alive(said)
    except BadRequest as error:
        assert error.param == "keep_alive"
    else:
        assert seconds is not None
        assert seconds >= 0


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ({}, None),
        ({"keep_alive": None, "ttl": None}, None),
        ({"ttl": 90}, 90),
        ({"ttl": 90, "keep_alive": "5m"}, 300),
        ({"keep_alive": -1}, math.inf),
    ],
)
def test_the_other_dialects_take_it_and_lm_studios_too(
    raw: dict[str, Any], seconds: float | None
) -> None:
    assert read_kept({"model": "m"} | raw) == seconds


@pytest.mark.parametrize("raw", [{"ttl": -1}, {"ttl": "soon"}, {"keep_alive": [1]}])
def test_what_is_no_time_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        read_kept(raw)
    assert caught.value.param == next(iter(raw))


def test_latest_is_what_a_name_without_a_tag_means() -> None:
    path = "builtin:demo"
    settings = Settings(models={"a": ModelSpec(path=path), "b:latest": ModelSpec(path=path)})
    for asked, name in (("a", "a"), ("a:latest", "a"), ("b:latest", "b:latest"), ("c:1", "c:1")):
        assert model_name(settings, asked) == name


def test_no_limit_and_no_seed_are_numbers_below_zero() -> None:
    options = read_options({"num_predict": -2, "seed": -1, "num_ctx": 8192.0, "stop": "x"})
    asked = sampling(options, None, None)
    assert (asked.max_tokens, asked.seed, asked.stop) == (None, None, ("x",))
    assert options.num_ctx == 8192
    options = read_options({"repeat_penalty": 1.3, "repeat_last_n": 0})
    assert sampling(options, None, None).repetition_penalty == 1.0


def test_calls_and_results_find_each_other_without_ids() -> None:
    calls = [
        {"function": {"name": name, "arguments": {"ö": n}}} for n, name in enumerate(("a", "b"))
    ]
    read = read_messages(
        [
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "content": "of b", "tool_name": "b"},
            {"role": "tool", "content": "of a"},
            {"role": "tool", "content": "of nothing"},
        ]
    )
    ids = [call["id"] for call in read[0]["tool_calls"]]
    assert len(set(ids)) == 2
    assert read[0]["tool_calls"][0]["function"]["arguments"] == '{"ö": 0}'
    assert [message.get("tool_call_id") for message in read[1:]] == [ids[1], ids[0], None]
    assert [message.get("name") for message in read[1:]] == ["b", "a", None]
    assert read_tools([{"function": {"name": "a"}}])[0]["type"] == "function"


@pytest.mark.parametrize("broken", [7, [7], [{}], [{"function": {"name": 7}}], [{"function": []}]])
def test_broken_calls_are_refused_by_their_place(broken: Any) -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\]\.tool_calls"):
        read_messages([{"role": "assistant", "tool_calls": broken}, {"role": "tool"}])


def test_a_call_that_was_cut_is_still_an_object() -> None:
    answer = Answer(Envelope("r1", "demo", "2026-11-21T12:00:00Z", True))
    answer.add(ToolCallStarted(0, 0, "call_0", "weather"))
    answer.add(ToolCallArguments(0, 0, '{"city": "U'))
    assert b'"arguments":{"arguments":"{\\"city\\": \\"U"}' in answer.encode()
