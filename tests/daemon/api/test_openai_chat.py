"""The body of a chat request → protocol.ChatRequest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastmlx.daemon.api.openai_chat import read_chat
from fastmlx.daemon.protocol.errors import BadRequest
from hypothesis import given
from hypothesis import strategies as st

USER = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "demo", "messages": [USER]} | fields).encode()


def refused(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read_chat(body(**fields))
    return caught.value


THINKING = {"enable_thinking": True, "thinking": True}


def test_what_the_client_does_not_say_stays_unsaid() -> None:
    asked = read_chat(body(), client="127.0.0.1")
    sampling = asked.request.sampling
    assert sampling.temperature is None
    assert sampling.max_tokens is None
    assert sampling.stop == ()
    assert not sampling.logprobs
    assert (asked.stream, asked.include_usage, asked.request.n) == (False, False, 1)
    assert asked.request.meta.client == "127.0.0.1"
    assert asked.request.meta.request_id.startswith("chatcmpl-")


def test_every_sampling_field_arrives() -> None:
    fields = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.05,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "seed": 7,
        "min_tokens": 2,
    }
    more = {
        "logit_bias": {"42": -100},
        "stop": "END",
        "stop_token_ids": [3],
        "ignore_eos": True,
        "max_completion_tokens": 9,
        "logprobs": True,
        "top_logprobs": 5,
        "n": 3,
    }
    request = read_chat(body(**fields, **more)).request
    sampling = request.sampling
    assert {name: getattr(sampling, name) for name in fields} == fields
    assert sampling.logit_bias == {42: -100}
    assert sampling.stop == ("END",)
    assert sampling.stop_token_ids == (3,)
    assert sampling.ignore_eos
    assert sampling.max_tokens == 9
    assert (sampling.logprobs, sampling.top_logprobs, request.n) == (True, 5, 3)


def test_what_real_clients_send_beside_it_is_accepted() -> None:
    asked = read_chat(
        body(
            user="u",
            metadata={"a": "b"},
            store=False,
            prediction={"type": "content", "content": "x"},
            verbosity="low",
            safety_identifier="s",
            service_tier="auto",
            response_format={"type": "text"},
            modalities=["text"],
            parallel_tool_calls=True,
            tool_choice="auto",
            tools=[{"type": "web_search_preview"}],
            priority=0,
            functions=None,
            prompt_cache_key="k",
            stream=True,
            stream_options={"include_usage": True, "continuous_usage_stats": True},
            logit_bias={},
            stop=None,
            cache_control={"type": "ephemeral"},
        )
    )
    assert asked.stream
    assert asked.include_usage
    assert asked.request.meta.counted
    assert asked.request.tools == []


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"audio": {"voice": "alloy"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"thinking_token_budget": -2}, "thinking_token_budget"),
        ({"reasoning": {"max_tokens": -5}}, "reasoning.max_tokens"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
        ({"tools": [{"type": "custom"}]}, "tools[0].custom"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True}, "echo"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"stop": ["x"] * 10_000}, "stop"),
        ({"stop": "x" * 5000}, "stop"),
        ({"logit_bias": {"word": 1}}, "logit_bias"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ({"prompt_logprobs": 1, "mcp": True}, "prompt_logprobs"),
        ({"model": ""}, "model"),
        ({"model": "x" * 1000}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": 7, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [USER, {"role": "assistant"}]}, "messages[1].content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]},
            "messages[0].tool_calls[0].function",
        ),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_what_we_cannot_do_is_a_400_that_names_the_field(fields: dict, param: str) -> None:
    error = refused(**fields)
    assert error.param == param
    assert param.partition("[")[0].partition(".")[0] in error.message


def test_empty_stop_strings_mean_none() -> None:
    assert read_chat(body(stop=["", "x"])).request.sampling.stop == ("x",)


def test_a_conversation_with_tools_passes_whole() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Rain?", "cache_control": {}}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": "yes"},
        {"role": "assistant", "content": "It ra"},
    ]
    request = read_chat(body(messages=messages, tools=[TOOL], continue_final_message=True)).request
    assert [message["role"] for message in request.messages] == [m["role"] for m in messages]
    assert request.messages[2]["tool_calls"] == [call]
    assert request.messages[2]["reasoning_content"] == "hm"
    assert request.messages[3]["tool_call_id"] == "c1"
    assert request.tools == [TOOL]
    assert request.continue_final_message
    assert not request.add_generation_prompt


def test_reasoning_effort_reaches_the_template() -> None:
    request = read_chat(
        body(reasoning_effort="low", chat_template_kwargs={"enable_thinking": False})
    ).request
    assert request.chat_template_kwargs == {"reasoning_effort": "low", "enable_thinking": False}


values = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(), max_size=2)
names = st.sampled_from(
    ["messages", "tools", "stop", "n", "stream_options", "tool_choice", "logit_bias", "model"]
)


@given(
    st.dictionaries(names, values | st.dictionaries(st.text(), values, max_size=2), max_size=4),
    st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls"]), values)),
)
def test_no_shape_of_a_body_is_an_exception_of_ours(fields: dict, messages: list) -> None:
    try:
        read_chat(json.dumps({"model": "m", "messages": messages} | fields).encode())
    except BadRequest as error:
        assert error.message


@pytest.mark.parametrize(
    ("fields", "kwargs", "budget"),
    [
        ({"thinking_token_budget": 9, "n": 2}, {}, 9),
        ({"thinking_budget": 9}, {}, 9),
        ({"reasoning_budget_tokens": -1}, {}, None),
        ({"reasoning_max_tokens": 0}, {"reasoning_effort": "none"}, None),
        (
            {"reasoning": {"effort": "low", "max_tokens": 7, "next": 1}},
            {"reasoning_effort": "low"},
            7,
        ),
        ({"reasoning": {"enabled": False}}, {"enable_thinking": False, "thinking": False}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, THINKING, 5),
        ({"enable_thinking": True}, THINKING, None),
        (
            {"thinking": {"type": "disabled"}, "chat_template_kwargs": {"thinking": True}},
            {"enable_thinking": False, "thinking": True},
            None,
        ),
    ],
)
def test_thinking_is_switched_and_bounded_in_everybodys_words(
    fields: dict, kwargs: dict, budget: int | None
) -> None:
    request = read_chat(body(**fields)).request
    assert request.chat_template_kwargs == kwargs
    assert request.thinking_budget == budget


@pytest.mark.parametrize("mark", ["prefix", "partial"])
def test_a_marked_last_message_is_continued(mark: str) -> None:
    last = {"role": "assistant", "content": "Once", mark: True}
    assert read_chat(body(messages=[USER, last])).request.continue_final_message
    assert not read_chat(body(messages=[last, USER])).request.continue_final_message
    assert not read_chat(body(messages=[USER, last | {mark: False}])).request.continue_final_message
