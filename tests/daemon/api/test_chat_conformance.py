"""What clients rely on in OpenAI's chat and completions, line by line, on a real daemon."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.lib.streaming.chat import ContentDoneEvent
from pydantic import BaseModel

CHAT = "/v1/chat/completions"
HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
SEEDED: dict[str, Any] = {"model": "tiny", "temperature": 1.0, "seed": 7, "max_tokens": 400}
SHORT: dict[str, Any] = SEEDED | {"max_tokens": 30}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Ulm", "Rome"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    for name in ("weather", "clock")
]


def chunks(http: httpx.Client, **fields: Any) -> list[dict[str, Any]]:
    """The stream's frames, with what must hold for every stream."""
    body = SEEDED | {"messages": HELLO, "stream": True} | fields
    response = http.post(CHAT, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    frames = [frame for frame in response.text.split("\n\n") if frame and frame[0] != ":"]
    assert all(frame.startswith("data: ") for frame in frames)
    assert frames[-1] == "data: [DONE]"
    found = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]
    for name in ("id", "created", "model", "object", "system_fingerprint"):
        assert len({chunk[name] for chunk in found}) == 1
    assert found[0]["object"] == "chat.completion.chunk"
    assert found[0]["model"] == "tiny"
    return found


def test_a_stream_begins_and_ends_as_clients_expect(http: httpx.Client) -> None:
    found = chunks(http, stream_options={"include_usage": True}, max_tokens=5)
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    *deltas, last = found
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5
    assert "cached_tokens" in last["usage"]["prompt_tokens_details"]
    details = last["usage"]["completion_tokens_details"]
    assert "reasoning_tokens" in details
    assert details["accepted_prediction_tokens"] == details["rejected_prediction_tokens"] == 0
    assert all(chunk["usage"] is None for chunk in deltas)
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in deltas]
    assert reasons[-1] == "length"
    assert set(reasons[:-1]) == {None}
    assert all("usage" not in chunk for chunk in chunks(http, max_tokens=2))


def test_streamed_calls_begin_with_id_and_name_and_their_pieces_are_json(
    http: httpx.Client,
) -> None:
    found = chunks(http, tools=TOOLS, tool_choice="required")
    calls: list[dict[str, Any]] = []
    pieces: list[str] = []
    for chunk in found:
        delta = chunk["choices"][0]["delta"]
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert call["index"] == len(calls)
                assert call["type"] == "function"
                assert call["function"]["arguments"] == ""
                assert call["function"]["name"] in ("weather", "clock")
                calls.append(call)
                pieces.append("")
            else:
                assert call.keys() == {"index", "function"}
                pieces[call["index"]] += call["function"]["arguments"]
        assert "<tool_call>" not in (delta.get("content") or "")
    assert calls
    assert len({call["id"] for call in calls}) == len(calls)
    assert all(json.loads(piece)["city"] in ("Ulm", "Rome") for piece in pieces)
    assert found[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_choices_with_demanded_calls_each_have_their_own(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=HELLO,
        tools=TOOLS,
        tool_choice="required",
        parallel_tool_calls=False,
        n=3,
        **SEEDED,
    )
    ids = set()
    for choice in answer.choices:
        [call] = choice.message.tool_calls or []
        assert choice.message.content is None
        assert choice.finish_reason == "tool_calls"
        ids.add(call.id)
    assert len(ids) == 3


def test_logprobs_go_with_tools_and_a_schema(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=HELLO,
        tools=TOOLS,
        tool_choice="none",
        response_format={"type": "json_object"},
        logprobs=True,
        top_logprobs=2,
        reasoning_effort="none",
        **SHORT,
    ).choices[0]
    assert answer.logprobs is not None
    assert answer.logprobs.content
    said = b"".join(bytes(token.bytes or ()) for token in answer.logprobs.content)
    assert (answer.message.content or "").encode()[:3] in said
    assert all(len(token.top_logprobs) == 2 for token in answer.logprobs.content)


@pytest.mark.parametrize("wish", [{"include_reasoning": False}, {"reasoning": {"exclude": True}}])
def test_thinking_is_not_shown_to_who_does_not_want_it(
    http: httpx.Client, wish: dict[str, Any]
) -> None:
    # With this seed the model thinks before the JSON that it is held to.
    thinking: dict[str, Any] = {"response_format": {"type": "json_object"}, "max_tokens": 12}
    shown = chunks(http, **thinking)
    hidden = chunks(http, **thinking, **wish)
    assert any("reasoning_content" in chunk["choices"][0]["delta"] for chunk in shown)
    assert not any("reasoning_content" in chunk["choices"][0]["delta"] for chunk in hidden)
    assert hidden[0]["choices"][0]["delta"]["role"] == "assistant"
    whole = http.post(CHAT, json=SEEDED | {"messages": HELLO} | thinking | wish).json()
    assert "reasoning" not in whole["choices"][0]["message"]
    assert whole["usage"]["completion_tokens"] == 12


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


class Answer(BaseModel):
    ok: bool


def test_openais_helpers_parse_tools_and_streams(client: OpenAI) -> None:
    tool = openai.pydantic_function_tool(Weather)
    parsed = client.chat.completions.parse(
        messages=HELLO, tools=[tool], tool_choice="required", parallel_tool_calls=False, **SEEDED
    )
    [call] = parsed.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Weather)
    with client.chat.completions.stream(
        messages=HELLO,
        response_format=Answer,
        reasoning_effort="none",
        stream_options={"include_usage": True},
        **SEEDED,
    ) as stream:
        done = [event for event in stream if isinstance(event, ContentDoneEvent)]
        final = stream.get_final_completion()
    assert isinstance(done[0].parsed, Answer)
    assert isinstance(final.choices[0].message.parsed, Answer)
    assert final.usage is not None


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "developer", "content": "Be brief."}, *HELLO],
        [{"role": "next-month", "content": "?"}, *HELLO],
        [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]}, *HELLO],
        [*HELLO, {"role": "assistant", "content": "Once upon", "prefix": True}],
        [*HELLO, {"role": "assistant", "content": "Hi."}, *HELLO, *HELLO],
    ],
)
def test_conversations_of_all_kinds_are_answered(http: httpx.Client, messages: Any) -> None:
    answer = http.post(CHAT, json=SEEDED | {"messages": messages, "max_tokens": 3})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("arguments", ['{"a": 1}', {"a": 1}, '{"a": ', "nonsense", "", "[1]", None])
def test_a_call_in_the_history_may_have_any_arguments(http: httpx.Client, arguments: Any) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "ok"},
    ]
    answer = http.post(CHAT, json=SEEDED | {"messages": messages, "max_tokens": 3})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_a_part_that_the_model_lacks_is_named_with_its_place(http: httpx.Client, kind: str) -> None:
    content = [{"type": "text", "text": "Look:"}, {"type": kind, kind: {}}]
    body = SEEDED | {"messages": [*HELLO, {"role": "user", "content": content}]}
    answer = http.post(CHAT, json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("messages[1].content[1]")
    assert kind in answer.json()["error"]["message"]


def test_an_answer_that_is_continued_goes_on_where_it_was(client: OpenAI) -> None:
    def said(**fields: Any) -> str:
        answer = client.chat.completions.create(model="tiny", temperature=0, max_tokens=8, **fields)
        return answer.choices[0].message.content or ""

    options: dict[str, Any] = {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}
    last = {"role": "assistant", "content": "Once upon a"}
    marked = said(messages=[*HELLO, last | {"partial": True}], **options)
    options["extra_body"] |= {"continue_final_message": True, "add_generation_prompt": False}
    assert said(messages=[*HELLO, last], **options) == marked


def test_the_likeliest_of_several_completions_are_returned(client: OpenAI) -> None:
    options: Any = {"model": "tiny", "prompt": ["Well,", "So"], "seed": 3, "max_tokens": 6}

    def likelihood(choice: Any) -> float:
        values = choice.logprobs.token_logprobs
        return sum(values) / len(values)

    all_ = client.completions.create(n=4, logprobs=0, **options)
    best = client.completions.create(n=1, best_of=4, logprobs=0, **options)
    for number, choice in enumerate(best.choices):
        tries = all_.choices[4 * number : 4 * number + 4]
        assert choice.text == max(tries, key=likelihood).text
        assert choice.index == number
    assert best.usage is not None
    assert best.usage.completion_tokens > 12
    assert client.completions.create(n=1, best_of=4, **options).choices[0].logprobs is None


def test_token_ids_lists_and_echo_are_taken_by_completions(client: OpenAI) -> None:
    echoed = client.completions.create(
        model="tiny", prompt=[[1, 2, 3], [4, 5]], max_tokens=2, echo=True
    )
    assert len(echoed.choices) == 2
    assert echoed.choices[0].logprobs is None
    only = client.completions.create(model="tiny", prompt="Once upon", max_tokens=0, echo=True)
    assert only.choices[0].text == "Once upon"
    assert only.choices[0].finish_reason == "length"
    assert only.usage is not None
    assert only.usage.completion_tokens == 0
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="tiny", prompt="x", suffix="y")
    assert caught.value.param == "suffix"


def test_a_text_is_scored_as_evaluation_harnesses_do(client: OpenAI, http: httpx.Client) -> None:
    """Context and continuation as token ids, one token more, which is cut off again."""
    context, rest = [5, 6, 7], [11, 12, 13, 14]
    asked: dict[str, Any] = {"model": "tiny", "echo": True, "logprobs": 1, "temperature": 0}
    asked |= {"prompt": [context + rest], "seed": 1234}
    scored = client.completions.create(**asked, max_tokens=1).choices[0]
    found = scored.logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.token_logprobs is not None
    assert found.top_logprobs is not None
    assert found.text_offset is not None
    assert len(found.tokens) == len(found.token_logprobs) == len(found.top_logprobs) == 8
    assert found.token_logprobs[0] is None
    assert found.top_logprobs[0] is None
    assert found.text_offset[0] == 0
    for token, value, top in list(
        zip(found.tokens, found.token_logprobs, found.top_logprobs, strict=True)
    )[1:]:
        assert value == top[token] <= max(top.values()) <= 0
    # Each continuation's token is what the same prompt, cut before it, gives it.
    at = len(context)
    shorter: dict[str, Any] = asked | {"prompt": context + rest[:1], "max_tokens": 0}
    cut = client.completions.create(**shorter)
    assert cut.choices[0].logprobs is not None
    assert cut.choices[0].logprobs.token_logprobs is not None
    assert cut.choices[0].logprobs.token_logprobs[at] == pytest.approx(
        found.token_logprobs[at], abs=1e-4
    )
    response = http.post("/v1/completions", json=asked | {"max_tokens": 1, "stream": True})
    frames = [frame.removeprefix("data: ") for frame in response.text.split("\n\n") if frame]
    chunks = [json.loads(frame) for frame in frames if frame[0] == "{"]
    values = [
        value
        for chunk in chunks
        for choice in chunk["choices"]
        for value in (choice["logprobs"] or {}).get("token_logprobs", ())
    ]
    assert values == found.token_logprobs
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == scored.text


def test_scored_prompts_and_choices_each_have_their_own(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "tiny", "echo": True, "logprobs": 0, "max_tokens": 3}
    both = client.completions.create(prompt=["One two", "Three"], n=2, seed=3, **asked)
    for choice in both.choices:
        assert choice.text.startswith("One two" if choice.index < 2 else "Three")
        assert choice.logprobs is not None
        assert choice.logprobs.token_logprobs is not None
        assert choice.logprobs.token_logprobs.count(None) == 1
    one, other = (both.choices[i].logprobs.token_logprobs for i in (0, 1))  # pyright: ignore
    assert one[:2] == other[:2]
    best = client.completions.create(prompt="One two", best_of=3, n=1, **asked).choices[0]
    assert best.text.startswith("One two")
