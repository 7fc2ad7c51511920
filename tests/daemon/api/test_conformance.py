"""What clients rely on, whatever the dialect: heartbeats, headers, and the mistakes that servers
are known for. Each dialect's own lines are in the test files of its name."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastmlx.daemon.api import sse
from scripted import Scripted, scripted

HELLO = [{"role": "user", "content": "Hello there"}]
CHAT: dict[str, Any] = {"model": "m", "messages": HELLO}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "m", "prompt": "Hello"},
    "/v1/messages": CHAT | {"max_tokens": 900},
    "/v1/responses": {"model": "m", "input": "Hello"},
}
SCHEMA = {
    "type": "object",
    "properties": {"zip": {"type": "string"}, "sure": {"type": "boolean"}},
}
CALLS: list[dict[str, Any]] = [{"zip": "02134", "sure": False}, {"zip": "1e5", "sure": True}]
SCRIPT = (
    "<think>\nHm, <b>two</b>.\n</think>\n\nLet me look.\n"
    + "\n".join(
        f'<tool_call>\n{{"name": "find", "arguments": {json.dumps(call)}}}\n</tool_call>'
        for call in CALLS
    )
    + "<|im_end|>"
)


@pytest.fixture
async def front(tmp_path: Path, tiny_model: Callable[..., Path]) -> AsyncIterator[Scripted]:
    async with scripted(tmp_path, tiny_model("qwen3")) as front:
        front.say(SCRIPT)
        yield front


@pytest.fixture
async def client(front: Scripted) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=front.url, timeout=60) as client:
        yield client


def data_of(text: str) -> list[Any]:
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


# ---- while nothing is generated


@pytest.mark.parametrize("path", ASKED)
async def test_a_loading_model_is_waited_for_with_what_the_dialects_clients_understand(
    client: httpx.AsyncClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "GRACE_S", 0.005)
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.02)
    answer = await client.post(path, json=ASKED[path] | {"stream": True})
    assert answer.status_code == 200
    frames = [frame for frame in answer.text.split("\n\n") if frame]
    comments = [frame for frame in frames if frame.startswith(":")]
    pings = [frame for frame in frames if frame.startswith("event: ping")]
    progress = [frame for frame in frames if "event: response.in_progress" in frame]
    if path == "/v1/messages":
        assert (comments, progress) == ([], [])
        assert len(pings) > 1
        assert set(pings) == {'event: ping\ndata: {"type":"ping"}'}
        assert frames[0] in pings  # before message_start
    elif path == "/v1/responses":
        assert (comments, pings) == ([], [])
        assert len(progress) > 1
    else:
        assert (pings, progress) == ([], [])
        assert comments
    assert ("[DONE]" in answer.text) == (path not in ("/v1/messages", "/v1/responses"))


# ---- mistakes of other servers


async def test_calls_of_a_chat_are_told_apart_and_keep_their_types(
    client: httpx.AsyncClient,
) -> None:
    tools = [{"type": "function", "function": {"name": "find", "parameters": SCHEMA}}]
    body = CHAT | {"tools": tools}
    whole = (await client.post("/v1/chat/completions", json=body)).json()
    message = whole["choices"][0]["message"]
    assert whole["model"] == "m"
    assert message["content"].strip() == "Let me look."
    assert message["reasoning_content"].strip() == "Hm, <b>two</b>."
    assert [type(call["function"]["arguments"]) for call in message["tool_calls"]] == [str, str]
    said = [json.loads(call["function"]["arguments"]) for call in message["tool_calls"]]
    assert said == CALLS
    assert len({call["id"] for call in message["tool_calls"]}) == 2
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    assert whole["usage"]["prompt_tokens_details"]["cached_tokens"] == 0

    chunks = data_of((await client.post("/v1/chat/completions", json=body | {"stream": True})).text)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    text = "".join(delta.get("content") or "" for delta in deltas)
    assert text.strip() == "Let me look."
    pieces = [call for delta in deltas for call in delta.get("tool_calls") or ()]
    for number, call in enumerate(CALLS):
        mine = [piece for piece in pieces if piece["index"] == number]
        assert mine[0]["id"]
        assert (mine[0]["type"], mine[0]["function"]["name"]) == ("function", "find")
        joined = "".join(piece["function"].get("arguments") or "" for piece in mine)
        assert json.loads(joined) == call
    ends = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
    assert [end for end in ends if end] == ["tool_calls"]


async def test_blocks_of_a_message_follow_each_other_and_join_to_what_was_said(
    client: httpx.AsyncClient,
) -> None:
    body = ASKED["/v1/messages"] | {"tools": [{"name": "find", "input_schema": SCHEMA}]}
    body |= {"thinking": {"type": "adaptive"}}
    whole = (await client.post("/v1/messages", json=body)).json()
    kinds = ["thinking", "text", "tool_use", "tool_use"]
    assert [block["type"] for block in whole["content"]] == kinds
    assert [block["input"] for block in whole["content"][2:]] == CALLS
    assert whole["content"][0]["signature"]
    assert whole["stop_reason"] == "tool_use"

    text = (await client.post("/v1/messages", json=body | {"stream": True})).text
    events = data_of(text)
    names = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in events]
    events = [event for event in events if event["type"] != "ping"]
    starts = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    assert [block["type"] for block in starts] == kinds
    assert starts[0] == {"type": "thinking", "thinking": "", "signature": ""}
    assert starts[1] == {"type": "text", "text": ""}
    assert [block["input"] for block in starts[2:]] == [{}, {}]
    for number in range(4):
        mine = [event for event in events if event.get("index") == number]
        first, *deltas, last = mine
        assert first["type"] == "content_block_start"
        assert last["type"] == "content_block_stop"
        assert {delta["type"] for delta in deltas} == {"content_block_delta"}
        inner = [delta["delta"]["type"] for delta in deltas]
        if number == 0:
            assert inner.count("signature_delta") == 1
            assert inner[-1] == "signature_delta"
        elif number > 1:
            assert set(inner) == {"input_json_delta"}
            joined = "".join(delta["delta"]["partial_json"] for delta in deltas)
            assert json.loads(joined) == CALLS[number - 2]
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


async def test_system_turns_stay_where_they_are(front: Scripted, client: httpx.AsyncClient) -> None:
    late = {"role": "system", "content": "Marvin was here."}
    turns = [*HELLO, late, {"role": "user", "content": "Last words."}]
    for path in ("/v1/messages", "/v1/chat/completions"):
        await client.post(path, json=ASKED[path] | {"messages": turns})
    for prompt in (front.text(0), front.text(1)):
        places = [prompt.index(each) for each in ("Hello there", "Marvin", "Last words")]
        assert places == sorted(places)


# ---- HTTP


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("stream", [False, True])
def test_every_reply_has_its_id_under_both_names_and_no_stream_is_compressed(
    http: httpx.Client, path: str, stream: bool
) -> None:
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    body = ASKED[path] | {"model": "tiny", "stream": stream, limit: 2}
    answer = http.post(path, json=body, headers={"accept-encoding": "br, zstd, gzip"})
    assert answer.status_code == 200
    assert answer.headers["x-request-id"] == answer.headers["request-id"] != ""
    if stream:
        assert "content-encoding" not in answer.headers
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["cache-control"] == "no-cache"
    else:
        assert answer.json()["model"] == "tiny"


@pytest.mark.parametrize("path", ASKED)
def test_what_a_server_may_not_do_with_a_body(http: httpx.Client, path: str) -> None:
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    body = ASKED[path] | {"model": "tiny-alias", limit: 1, "next_months_field": {"a": [1]}}
    data = json.dumps(body).encode()
    pieces = (data[i : i + 7] for i in range(0, len(data), 7))  # a chunked body
    answer = http.post(path, content=pieces, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "tiny-alias"  # as it was asked for
    broken = http.post(path, content=gzip.compress(data), headers={"content-encoding": "gzip"})
    assert 400 <= broken.status_code < 500
    assert broken.headers["content-type"].startswith("application/json")
    unknown = http.post(path, json=body | {"model": "org/name:tag"})
    assert unknown.status_code == 404
    error = unknown.json()["error"]
    assert "tiny" in error["message"]  # the names that there are
    if path != "/v1/messages":
        assert error["code"] == "model_not_found"


def test_models_say_what_clients_of_all_kinds_read(http: httpx.Client) -> None:
    listed = http.get("/v1/models").json()
    assert listed["object"] == "list"
    (tiny,) = [each for each in listed["data"] if each["id"] == "tiny"]
    assert {"id", "object", "created", "owned_by", "aliases", "loaded"} <= tiny.keys()
    assert tiny["context_length"] == tiny["max_model_len"] == tiny["max_input_tokens"]
    assert tiny["capabilities"] == ["completion", "tools", "thinking"]
    one = http.get("/v1/models/tiny").json()
    assert (one["id"], one["capabilities"]) == ("tiny", tiny["capabilities"])
    missing = http.get("/v1/models/org%2Fname%3Atag")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "model_not_found"
    page = http.get("/v1/models?limit=1000", headers={"anthropic-version": "2023-06-01"}).json()
    assert {"data", "has_more", "first_id", "last_id"} <= page.keys()
    assert {"type", "id", "display_name", "created_at"} <= page["data"][0].keys()
