"""Requests of real clients, captured, replayed against a real daemon: no error, and their events in
the order that their clients expect.

tests/golden/captures.jsonl has one request a line: Claude Code, Codex, SDKs, benchmarks and others,
as they sent them in November 2026. Their long texts are filler, and short. Here their answers are
cut to a few tokens, and where their model has a larger vocabulary token ids are brought into ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from anthropic.types import RawMessageStreamEvent
from live import LiveDaemon
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

FILE = Path(__file__).parents[2] / "golden" / "captures.jsonl"
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
FEW = 4  # tokens
MESSAGE_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
RESPONSE_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

CAPTURES: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
SCENARIOS = sorted({(each["client"], each["scenario"]) for each in CAPTURES})


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Iterator[httpx.Client]:
    folder = tiny_model("qwen3", max_position_embeddings=131072, hidden_size=32)
    config = f"""\
models:
  tiny:
    path: {folder}
    aliases: ["claude-*", fake-model, qwen3.8-27b, gpt-5.5, gpt-4o-mini-2024-07-18, m]
  embedder: {{path: {tiny_model("qwen3")}, kind: embedding, aliases: [e]}}
"""
    home = tmp_path_factory.mktemp("captures")
    with LiveDaemon(home, config) as running, running.http() as http:
        yield http


@pytest.mark.parametrize(("client", "scenario"), SCENARIOS, ids=map("-".join, SCENARIOS))
def test_a_clients_requests_are_answered_as_it_expects(
    http: httpx.Client, client: str, scenario: str
) -> None:
    for captured in CAPTURES:
        if (captured["client"], captured["scenario"]) != (client, scenario):
            continue
        path, body = captured["path"], captured["body"]
        if path == "/api/pull":
            continue  # would fetch a model from the Hub
        if "openai-beta" in captured["headers"] and captured["method"] == "GET":
            continue  # asks for a WebSocket: test_responses_websocket
        answer = http.request(
            captured["method"],
            path,
            headers=captured["headers"],
            json=None if body is None else short(path, body),
        )
        what = f"{path} {captured['seq']}"
        assert answer.status_code == 200, f"{what}: {answer.text[:500]}"
        if captured["method"] == "HEAD":
            continue
        if body is not None and body.get("stream"):
            assert answer.headers["content-type"].startswith("text/event-stream"), what
            CHECKS[path.partition("?")[0]](frames(answer.text), body)
        elif path.startswith("/v1/"):
            assert "error" not in answer.json() or answer.json()["error"] is None, what


def short(path: str, body: dict[str, Any]) -> dict[str, Any]:
    limits = [name for name in LIMITS if name in body]
    if not limits and "embeddings" not in path and "count_tokens" not in path:
        limits = ["max_output_tokens" if "responses" in path else "max_tokens"]
    body = body | {name: min(body.get(name, FEW), FEW) for name in limits}
    if isinstance(body.get("input"), list) and isinstance(body["input"][0], list):
        body["input"] = [[token % 1000 for token in each] for each in body["input"]]
    return body


def frames(text: str) -> list[tuple[str | None, str]]:
    """(event, data) of each frame, without heartbeats."""
    found: list[tuple[str | None, str]] = []
    for frame in filter(None, text.split("\n\n")):
        lines = [line for line in frame.split("\n") if not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if fields and fields.get("event") != "ping":
            found.append((fields.get("event"), fields["data"]))
    return found


def check_chat(events: list[tuple[str | None, str]], body: dict[str, Any]) -> None:
    assert {event for event, _ in events} == {None}
    assert events[-1][1] == "[DONE]"
    chunks = [json.loads(data) for _, data in events[:-1]]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
        assert chunk["model"] == body["model"]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    ends = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    assert len(ends) == 1
    assert ends[0] in ("stop", "length", "tool_calls")
    with_usage = [chunk for chunk in chunks if chunk.get("usage")]
    options = body.get("stream_options") or {}
    if options.get("include_usage"):
        assert with_usage == (chunks if options.get("continuous_usage_stats") else chunks[-1:])
        assert chunks[-1]["choices"] == []
        assert choices[-1]["finish_reason"]
    else:
        assert not with_usage


def check_message(events: list[tuple[str | None, str]], body: dict[str, Any]) -> None:
    data = [json.loads(each) for _, each in events]
    assert [event for event, _ in events] == [each["type"] for each in data]
    for each in data:
        MESSAGE_EVENT.validate_python(each)
    first, *inner, delta, last = data
    assert (first["type"], delta["type"], last["type"]) == (
        "message_start",
        "message_delta",
        "message_stop",
    )
    message = first["message"]
    assert (message["content"], message["stop_reason"]) == ([], None)
    assert message["model"] == body["model"]
    assert message["usage"]["output_tokens"] >= 1
    assert delta["delta"]["stop_reason"] in ("end_turn", "max_tokens", "tool_use", "stop_sequence")
    open_block, blocks = None, 0
    for each in inner:
        if each["type"] == "content_block_start":
            assert (open_block, each["index"]) == (None, blocks)
            open_block, blocks = each["index"], blocks + 1
        else:
            assert each["type"] in ("content_block_delta", "content_block_stop")
            assert each["index"] == open_block
            if each["type"] == "content_block_stop":
                open_block = None
    assert open_block is None


def check_response(events: list[tuple[str | None, str]], body: dict[str, Any]) -> None:
    data = [json.loads(each) for _, each in events]
    kinds = [each["type"] for each in data]
    assert [event for event, _ in events] == kinds
    assert [each["sequence_number"] for each in data] == list(range(len(data)))
    for each in data:
        RESPONSE_EVENT.validate_python(each)
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert data[-1]["response"]["model"] == body["model"]
    done = [each["item"]["id"] for each in data if each["type"] == "response.output_item.done"]
    added = [each["item"]["id"] for each in data if each["type"] == "response.output_item.added"]
    assert added == done == [item["id"] for item in data[-1]["response"]["output"]]


CHECKS = {
    "/v1/chat/completions": check_chat,
    "/v1/messages": check_message,
    "/v1/responses": check_response,
}
