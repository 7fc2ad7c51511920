"""OpenAI's own client and its Responses API against a real daemon."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
REQUIRED = """id object created_at completed_at status incomplete_details model instructions output
    previous_response_id error tools tool_choice truncation parallel_tool_calls text top_p user
    presence_penalty frequency_penalty top_logprobs temperature reasoning usage max_output_tokens
    max_tool_calls store background service_tier metadata safety_identifier prompt_cache_key
    conversation"""
APPROVAL = "tools[0].require_approval"
CLOCK: Any = {"type": "function", "name": "clock"}
GREEDY: Any = {"model": "tiny", "temperature": 0}


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    whole = client.responses.create(input="Hello there", max_output_tokens=24, **GREEDY)
    stream = client.responses.create(
        input="Hello there", max_output_tokens=24, stream=True, **GREEDY
    )
    events = list(stream)
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == whole.output_text != ""
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert (whole.status, whole.model) == ("incomplete", "tiny")
    assert whole.usage is not None
    assert last.response.usage is not None
    assert whole.usage.output_tokens == last.response.usage.output_tokens == 24
    assert last.response.output_text == text


def frames_of(text: str) -> list[dict[str, Any]]:
    frames = []
    for frame in text.removesuffix("\n\n").split("\n\n"):
        event, data = frame.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert event == f"event: {value['type']}"
        frames.append(value)
    return frames


def test_the_events_come_in_their_order_and_are_numbered(http: httpx.Client) -> None:
    body = {"model": "tiny", "input": "Hello", "max_output_tokens": 6, "stream": True}
    answer = http.post("/v1/responses", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = frames_of(answer.text)
    for event in events:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"].removeprefix("response.") for event in events]
    deltas = kinds.count("output_text.delta")
    assert kinds == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * deltas,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "incomplete",
    ]
    done = events[-2]["item"]
    assert events[-1]["response"]["output"] == [done]
    assert done["content"][0]["text"] == events[-4]["text"]


def test_the_object_has_every_field_that_clients_require(http: httpx.Client) -> None:
    body = {"model": "tiny", "input": "Hello", "max_output_tokens": 1, "metadata": {"a": "b"}}
    answer = http.post("/v1/responses", json=body).json()
    Response.model_validate(answer)
    assert set(REQUIRED.split()) <= set(answer)
    assert answer["metadata"] == {"a": "b"}
    assert answer["usage"]["input_tokens_details"].keys() == {"cached_tokens", "cache_write_tokens"}


def test_a_response_goes_on_from_another_one(client: OpenAI) -> None:
    first = client.responses.create(input="Hello", max_output_tokens=8, **GREEDY)
    said: Any = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "And now?"},
    ]
    whole = client.responses.create(input=said, max_output_tokens=8, store=False, **GREEDY)
    second = client.responses.create(
        input="And now?", previous_response_id=first.id, max_output_tokens=8, **GREEDY
    )
    assert second.output_text == whole.output_text
    assert second.previous_response_id == first.id
    assert second.usage is not None
    assert whole.usage is not None
    assert second.usage.input_tokens == whole.usage.input_tokens
    # It goes on even when the first one is gone; that one is gone.
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    third = client.responses.create(
        input="More?", previous_response_id=second.id, max_output_tokens=1, **GREEDY
    )
    assert third.usage is not None
    assert third.usage.input_tokens > second.usage.input_tokens
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(input="More?", previous_response_id=whole.id, **GREEDY)
    assert caught.value.code == "previous_response_not_found"


def test_a_kept_response_can_be_read_again_with_its_input(client: OpenAI) -> None:
    given: Any = [
        {"role": "user", "content": "one"},
        {"type": "message", "role": "assistant", "content": "two", "id": "msg_mine"},
        {"role": "user", "content": [{"type": "input_text", "text": "three"}]},
    ]
    made = client.responses.create(input=given, max_output_tokens=3, **GREEDY)
    assert client.responses.retrieve(made.id).output == made.output
    items = client.responses.input_items.list(made.id, order="asc", limit=2)
    assert len(items.data) == 2
    assert items.has_more
    assert items.data[1].id == "msg_mine"
    assert [item.id for item in items][1] == "msg_mine"  # pages on
    assert len(list(client.responses.input_items.list(made.id, limit=1))) == 3
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_unknown")


def test_items_may_be_named_by_their_ids(client: OpenAI) -> None:
    first = client.responses.create(input="Hello", max_output_tokens=4, **GREEDY)
    said: Any = [
        {"role": "user", "content": "Hello"},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": "And?"},
    ]
    named = client.responses.create(input=said, max_output_tokens=4, **GREEDY)
    said[1] = {"role": "assistant", "content": first.output_text}
    whole = client.responses.create(input=said, max_output_tokens=4, **GREEDY)
    assert named.output_text == whole.output_text


def test_instructions_are_not_carried_over(client: OpenAI) -> None:
    first = client.responses.create(
        input="Hello", instructions="Be very brief. " * 20, max_output_tokens=1, **GREEDY
    )
    second = client.responses.create(
        input="And?", previous_response_id=first.id, max_output_tokens=1, **GREEDY
    )
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.input_tokens < first.usage.input_tokens


def test_input_tokens_says_what_the_request_will_cost(client: OpenAI) -> None:
    fields: Any = {"model": "tiny", "input": "Hello", "tools": [TOOL], "instructions": "Be brief."}
    count = client.responses.input_tokens.count(**fields)
    made = client.responses.create(max_output_tokens=1, **fields)
    assert made.usage is not None
    assert count.input_tokens == made.usage.input_tokens


def test_a_compaction_stands_for_what_it_was_made_of(client: OpenAI) -> None:
    said: Any = [
        {"role": "user", "content": "Rain in Ulm?"},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "Yes"},
    ]
    compacted = client.responses.compact(model="tiny", input=said)
    (item,) = compacted.output
    assert item.type == "compaction"
    small: Any = [item.to_dict(), {"role": "user", "content": "And now?"}]
    large: Any = [*said, {"role": "user", "content": "And now?"}]
    count = client.responses.input_tokens.count
    tokens = count(model="tiny", input=small, tools=[TOOL]).input_tokens
    assert tokens == count(model="tiny", input=large, tools=[TOOL]).input_tokens
    small[0]["encrypted_content"] = small[0]["encrypted_content"][:-8] + "AAAAAAA="
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="tiny", input=small)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "tools": [{"type": "mcp", "server_label": "s"}]}, APPROVAL),
        ({"input": "x", "tools": [{"type": "mcp"}]}, "tools[0].server_label"),
        ({"input": "x", "tools": [{"type": "function"}]}, "tools[0].name"),
        ({"input": "x", "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"input": "x", "prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": "x", "truncation": "some"}, "truncation"),
        ({"input": "x", "text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"input": "x", "text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"input": "x", "tool_choice": "required"}, "tool_choice"),
        ({"input": "x", "tools": [TOOL], "tool_choice": CLOCK}, "tool_choice.name"),
        ({"input": "x", "temperature": 9000}, "temperature"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input"),
        ({"input": "x", "background": True, "store": False}, "background"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input",
        ),
        ({"input": [{"type": "function_call", "call_id": "x"}]}, "input"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_names_the_place(
    http: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    answer = http.post("/v1/responses", json={"model": "tiny"} | fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param, error
    assert set(error) == {"message", "type", "param", "code"}


def test_an_unknown_model_is_a_404_also_of_a_stream(client: OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.create(model="gpt-9", input="x", stream=stream)
        assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.responses.compact(model="gpt-9", input="x")
