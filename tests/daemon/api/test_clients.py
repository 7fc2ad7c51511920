"""What agents, SDKs and benchmarks send and need, against one real daemon: what the files of the
single dialects do not show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from anthropic import Anthropic
from fastmlx.daemon.api import sse
from live import LiveDaemon
from openai import OpenAI
from pydantic import BaseModel

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
CHAT, COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
RESPONSES, OLLAMA = "/v1/responses", "/api/chat"
GREEDY: dict[str, Any] = {"model": "tiny", "temperature": 0}


@pytest.fixture(scope="module")
def openai(daemon: LiveDaemon) -> Iterator[OpenAI]:
    with daemon.openai() as client:
        yield client


@pytest.fixture(scope="module")
def claude(daemon: LiveDaemon) -> Iterator[Anthropic]:
    with daemon.anthropic() as client:
        yield client


# ---- what a model lacks, and what cannot be enforced


def content(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": [*parts]}]


def image(**source: str) -> dict[str, Any]:
    return {"type": "image", "source": source}


BASE64 = {"media_type": "image/png", "data": "aGk="}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"messages": content({"type": "image_url", "image_url": {"url": "data:,"}})}),
        (CHAT, {"messages": content({"type": "input_audio", "input_audio": {"data": ""}})}),
        (CHAT, {"messages": content({"type": "file", "file": {"file_data": "data:,"}})}),
        (CHAT, {"messages": content({"type": "video_url", "video_url": {"url": "data:,"}})}),
        (MESSAGES, {"messages": content(image(type="base64", **BASE64))}),
        (MESSAGES, {"messages": content({"type": "document", "source": {"type": "base64"}})}),
        (RESPONSES, {"input": content({"type": "input_image", "image_url": "data:,"})}),
        (RESPONSES, {"input": content({"type": "input_image", "file_id": "file-1"})}),
        (RESPONSES, {"input": content({"type": "input_file", "file_data": "data:,"})}),
        (RESPONSES, {"input": content({"type": "input_audio", "input_audio": {}})}),
        (OLLAMA, {"messages": [HELLO[0] | {"images": ["aGk="]}]}),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value)[-60:-20],
)
def test_a_part_that_the_model_cannot_read_is_a_clear_400(
    http: httpx.Client, path: str, fields: dict[str, Any]
) -> None:
    answer = http.post(path, json={"model": "tiny", "max_tokens": 3} | fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert re.search("text only|only text|no Files API", message), message


BROKEN = {"type": "object", "properties": {"a": {"type": "textt"}}}
STRICT = {"type": "json_schema", "schema": BROKEN, "strict": True}


@pytest.mark.parametrize(
    ("path", "fields", "place"),
    [
        (CHAT, {"response_format": {"type": "json_schema", "json_schema": STRICT}}, "a"),
        (CHAT, {"structured_outputs": {"json": BROKEN}}, "structured_outputs.json.properties.a"),
        (COMPLETIONS, {"prompt": "x", "guided_json": BROKEN}, "guided_json.properties.a"),
        (MESSAGES, {"output_config": {"format": STRICT}}, "format.schema.properties.a"),
        (RESPONSES, {"input": "x", "text": {"format": STRICT}}, "text.format.schema.properties.a"),
        (OLLAMA, {"format": BROKEN}, "format.properties.a"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_a_400_that_names_the_place(
    http: httpx.Client, path: str, fields: dict[str, Any], place: str
) -> None:
    body = {"model": "tiny", "max_tokens": 3, "messages": HELLO} | fields
    answer = http.post(path, json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert place in message
    assert "textt" in message


# ---- fields of the maker's books, hints, and figures


def test_hints_and_marks_change_nothing(openai: OpenAI) -> None:
    def said(**more: Any) -> Any:
        answer = openai.chat.completions.create(messages=HELLO, max_tokens=6, **GREEDY, **more)
        return answer.choices[0].message.content

    assert said() == said(
        user="u",
        store=True,
        metadata={"run": "7"},
        prediction={"type": "content", "content": "Something else"},
        safety_identifier="s",
        service_tier="flex",
        verbosity="low",
        prompt_cache_key="k",
    )


@pytest.mark.parametrize(
    ("path", "asked"), [(CHAT, {"messages": HELLO, "n": 2}), (COMPLETIONS, {"prompt": "Hello"})]
)
def test_usage_is_counted_in_every_chunk_where_that_is_asked(
    http: httpx.Client, path: str, asked: dict[str, Any]
) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = GREEDY | asked | {"max_tokens": 5, "stream": True, "stream_options": options}
    lines = [line[6:] for line in http.post(path, json=body).text.splitlines() if line]
    chunks = [json.loads(line) for line in lines if line != "[DONE]"]
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert counts[0] >= 1
    assert counts[-1] == 5 * asked.get("n", 1)
    assert len(set(counts)) > 1
    assert len({chunk["usage"]["prompt_tokens"] for chunk in chunks}) == 1
    assert chunks[-1]["choices"] == []
    # vLLM, too, wants both of them.
    alone = body | {"stream_options": {"continuous_usage_stats": True}}
    assert "usage" not in http.post(path, json=alone).text


def test_the_prompt_of_a_chat_is_scored(http: httpx.Client) -> None:
    asked = GREEDY | {"messages": HELLO, "max_tokens": 2, "prompt_logprobs": 2}
    answer = http.post(CHAT, json=asked | {"n": 2, "seed": 1}).json()
    first, *scored = answer["prompt_logprobs"]
    assert first is None
    assert len(scored) + 1 == answer["usage"]["prompt_tokens"]
    tokens = http.post("/tokenize", json={"model": "tiny", "messages": HELLO}).json()["tokens"]
    for token, entries in zip(tokens[1:], scored, strict=True):
        own = entries[str(token)]
        assert 2 <= len(entries) <= 3
        assert sorted(each["rank"] for each in entries.values() if each["rank"]) == [1, 2]
        assert own["logprob"] <= max(each["logprob"] for each in entries.values()) <= 0
        assert isinstance(own["decoded_token"], str)
    plain = http.post(CHAT, json=asked | {"prompt_logprobs": None}).json()
    assert "prompt_logprobs" not in plain
    said = [each["choices"][0]["message"]["content"] for each in (answer, plain)]
    assert said[0] == said[1]
    assert http.post(CHAT, json=asked | {"prompt_logprobs": 99}).status_code == 400


# ---- Claude Code


def test_what_changes_between_an_agents_requests_costs_no_cache(http: httpx.Client) -> None:
    """Beta headers, metadata, marks of the cache, the billing block, and how texts are cut."""
    system = "You keep the books of a small library. " * 12
    late = "The library opens at nine. " * 12

    def ask(number: int) -> dict[str, Any]:
        marked = {"cache_control": {"type": "ephemeral"}} if number else {}
        billing = f"x-anthropic-billing-header: cc_version=2.1.329.{number:03x}; cc_entrypoint=cli;"
        turn: Any = late if number else [{"type": "text", "text": late} | marked]
        body = {
            "model": "tiny",
            "max_tokens": 128_000,  # more than there is room: what is left
            "temperature": 0,
            "stop_sequences": ["e", "a", " "],
            "system": [
                {"type": "text", "text": billing},
                {"type": "text", "text": system} | marked,
            ],
            "messages": [*HELLO, {"role": "system", "content": turn}],
            "metadata": {"user_id": f"u{number}"},
            "thinking": {"type": "adaptive", "display": "omitted"},
        }
        headers = {"anthropic-beta": f"claude-code-20250219,b-{number}", "x-api-key": str(number)}
        answer = http.post(f"{MESSAGES}?beta=true", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["usage"]

    first, second = ask(0), ask(1)
    total = first["input_tokens"] + first["cache_read_input_tokens"]
    written = second["cache_creation_input_tokens"]
    assert second["cache_read_input_tokens"] + written + second["input_tokens"] == total
    assert second["cache_read_input_tokens"] >= total - 1


class Title(BaseModel):
    sure: bool


def test_anthropics_helpers_parse_and_have_their_beta_paths(claude: Anthropic) -> None:
    fields: Any = {"model": "tiny", "messages": HELLO, "max_tokens": 1200}
    off: Any = {"thinking": {"type": "disabled"}}
    parsed = claude.messages.parse(output_format=Title, **fields, **off)
    assert isinstance(parsed.parsed_output, Title)
    few = fields | {"max_tokens": 4}
    betas: Any = {"betas": ["interleaved-thinking-2025-05-14", "next-month-2027-01-01"]}
    whole = claude.beta.messages.create(**few, **betas, extra_body={"temperature": 0})
    with claude.beta.messages.stream(**few, **betas, extra_body={"temperature": 0}) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == [block.type for block in whole.content]
    assert final.usage.output_tokens == whole.usage.output_tokens == 4
    assert claude.beta.messages.count_tokens(model="tiny", messages=HELLO).input_tokens > 5


def test_heartbeats_come_every_five_seconds() -> None:
    """That they come, and as what: test_conformance and test_sse."""
    assert sse.HEARTBEAT_S == 5.0


# ---- HTTP


def test_a_clients_own_name_of_a_request_is_in_the_log(daemon: LiveDaemon) -> None:
    with daemon.http(headers={"x-client-request-id": "thread-7"}) as http:
        made = http.post(CHAT, json=GREEDY | {"messages": HELLO, "max_tokens": 1})

    def told() -> list[dict[str, Any]]:
        lines = (daemon.home / "logs" / "fastmlx.log").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [entry for entry in entries if entry.get("client") == "thread-7"]

    daemon.wait_until(told, what="a line with the client's id")
    assert told()[-1]["http"] == made.headers["x-request-id"]


def test_a_body_that_is_too_large_is_a_413_in_the_clients_own_shape(http: httpx.Client) -> None:
    answer = http.post(MESSAGES, content=b'{"model": "' + b"x" * (65 * 1024**2) + b'"}')
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "request_too_large"
    # Anthropic's own limit is 32 MB.
    large = {"model": "tiny", "messages": HELLO, "max_tokens": 1, "x": "y" * (32 * 1000**2)}
    assert http.post(MESSAGES, json=large).status_code == 200
    for path in ("/health", "/metrics", "/api/hello"):
        assert http.head(path).status_code == 200


# ---- how long a model stays


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        (CHAT, {"messages": HELLO, "max_tokens": 1}),
        (COMPLETIONS, {"prompt": "Hello", "max_tokens": 1}),
        (MESSAGES, {"messages": HELLO, "max_tokens": 1}),
        (RESPONSES, {"input": "Hello", "max_output_tokens": 1}),
    ],
)
def test_every_dialect_says_how_long_a_model_stays(
    http: httpx.Client, daemon: LiveDaemon, path: str, asked: dict[str, Any]
) -> None:
    def stays_s() -> float:
        return daemon.model("tiny")["idle_timeout_s"]

    for more, seconds in (({"keep_alive": "2h"}, 7200), ({"ttl": 5000}, 5000)):
        answer = http.post(path, json={"model": "tiny"} | asked | more)
        assert answer.status_code == 200, answer.text
        assert stays_s() == seconds
