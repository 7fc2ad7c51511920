"""Anthropic's own client against a real daemon."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic
from anthropic.types import RawMessageStreamEvent
from live import LiveDaemon
from pydantic import TypeAdapter

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
TOOL: Any = {
    "name": "weather",
    "description": "The weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
GREEDY: Any = {"model": "tiny", "extra_body": {"temperature": 0}}
EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


@pytest.fixture(scope="module")
def client(daemon: LiveDaemon) -> Iterator[Anthropic]:
    with daemon.anthropic() as client:
        yield client


@pytest.fixture(scope="module")
def http(daemon: LiveDaemon) -> Iterator[httpx.Client]:
    with daemon.http(headers={"anthropic-version": "2023-06-01"}) as http:
        yield http


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_stream_says_what_the_whole_answer_says(client: Anthropic) -> None:
    whole = client.messages.create(messages=HELLO, max_tokens=24, **GREEDY)
    with client.messages.stream(messages=HELLO, max_tokens=24, **GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(whole) == text_of(final)
    assert whole.stop_reason == final.stop_reason == "max_tokens"
    assert whole.model == "tiny"
    assert whole.id.startswith("msg_")
    assert whole.usage.output_tokens == final.usage.output_tokens == 24
    assert whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0) > 5


def test_the_events_come_in_their_order_and_are_well_formed(http: httpx.Client) -> None:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 8, "stream": True}
    answer = http.post("/v1/messages?beta=true", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["request-id"]
    kinds = []
    for frame in answer.text.removesuffix("\n\n").split("\n\n"):
        event, data = frame.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert event == f"event: {value['type']}"
        kinds.append(value["type"])
        if value["type"] != "ping":
            EVENT.validate_python(value)
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[3:-3]) == {"content_block_delta"}


def test_a_stop_sequence_is_named_and_not_shown(client: Anthropic) -> None:
    text = text_of(client.messages.create(messages=HELLO, max_tokens=40, **GREEDY))
    stop = text[12:16]
    cut = client.messages.create(messages=HELLO, max_tokens=40, stop_sequences=[stop], **GREEDY)
    assert (cut.stop_reason, cut.stop_sequence) == ("stop_sequence", stop)
    assert text_of(cut) == text[: text.index(stop)]


def test_the_last_message_of_the_assistant_is_continued(client: Anthropic) -> None:
    begun = [*HELLO, {"role": "assistant", "content": "The answer"}]
    count = client.messages.count_tokens(model="tiny", messages=begun).input_tokens
    answer = client.messages.create(messages=begun, max_tokens=4, **GREEDY)
    assert input_tokens(answer) == count
    # No new turn begins: the prompt is that of the user's message and a few tokens.
    alone = client.messages.count_tokens(model="tiny", messages=HELLO).input_tokens
    assert alone < count < alone + 12


def input_tokens(message: anthropic.types.Message) -> int:
    usage = message.usage
    cached = usage.cache_read_input_tokens or 0
    return usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0)


REQUESTS: list[dict[str, Any]] = [
    {"messages": HELLO},
    {"messages": HELLO, "system": "Be brief."},
    {"messages": HELLO, "system": [{"type": "text", "text": "Be brief."}], "tools": [TOOL]},
    {"messages": HELLO, "tools": [TOOL], "tool_choice": {"type": "none"}},
    {"messages": HELLO, "tools": []},
    {"messages": HELLO, "thinking": {"type": "enabled", "budget_tokens": 1024}},
    {"messages": HELLO, "thinking": {"type": "disabled"}},
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Rain in Ulm?"}]},
            {"role": "system", "content": "It is Monday."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Look.", "signature": "c2ln"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "text", "text": "Let me look."},
                    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "is_error": True,
                        "content": [{"type": "text", "text": "No such city"}],
                        "cache_control": {"type": "ephemeral"},
                    },
                    {"type": "text", "text": "Again, please."},
                    {"type": "next_month", "text": "and again"},
                ],
            },
        ],
        "tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}],
    },
]


@pytest.mark.parametrize("fields", REQUESTS)
def test_count_tokens_says_what_the_request_will_cost(
    client: Anthropic, fields: dict[str, Any]
) -> None:
    count = client.messages.count_tokens(model="tiny", **fields)
    answer = client.messages.create(model="tiny", max_tokens=2, **fields)
    assert count.input_tokens == input_tokens(answer)


def test_a_burst_of_counts_loads_nothing(http: httpx.Client, daemon: LiveDaemon) -> None:
    def count(length: int, model: str = "other") -> int:
        text = "word " * (40 * length)
        body = {"model": model, "messages": [{"role": "user", "content": text}], "tools": []}
        answer = http.post("/v1/messages/count_tokens?beta=true", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["input_tokens"]

    http.post("/api/models/other/unload")
    with ThreadPoolExecutor(26) as pool:
        counts = list(pool.map(count, range(1, 27)))
    assert counts == sorted(counts)
    assert daemon.model("other")["state"] == "stopped"
    # Nor does a count keep a model that is loaded: its time runs on.
    http.post("/api/models/tiny/load")
    idle_s = daemon.model("tiny")["idle_s"]
    count(1, "tiny")
    assert daemon.model("tiny")["idle_s"] >= idle_s


def test_marked_prompts_count_as_written_to_the_cache(client: Anthropic) -> None:
    marked: Any = [{"type": "text", "text": "Hello there", "cache_control": {"type": "ephemeral"}}]
    answer = client.messages.create(
        messages=[{"role": "user", "content": marked}], max_tokens=1, **GREEDY
    )
    count = client.messages.count_tokens(model="tiny", messages=HELLO).input_tokens
    written = answer.usage.cache_creation_input_tokens or 0
    assert written + (answer.usage.cache_read_input_tokens or 0) == count
    assert answer.usage.input_tokens == 0


def test_any_claude_answers_through_an_alias(client: Anthropic) -> None:
    answer = client.messages.create(model="claude-opus-5-5", messages=HELLO, max_tokens=1)
    assert answer.model == "claude-opus-5-5"
    assert client.models.retrieve("claude-haiku-9").id == "claude-haiku-9"


def test_models_are_listed_page_by_page(client: Anthropic) -> None:
    first = client.models.list(limit=2)
    assert [model.id for model in first.data] == ["tiny", "tiny-alias"]
    assert (first.has_more, first.first_id, first.last_id) == (True, "tiny", "tiny-alias")
    assert [model.id for model in client.models.list(limit=1)] == ["tiny", "tiny-alias", "other"]
    last = client.models.list(limit=1, before_id="other")
    assert [model.id for model in last.data] == ["tiny-alias"]
    assert last.has_more
    with pytest.raises(anthropic.BadRequestError):
        client.models.list(limit=0)
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("org/unknown")


@pytest.mark.parametrize(
    ("fields", "kind", "status", "says"),
    [
        ({"model": "nobody"}, "not_found_error", 404, "There is no model 'nobody'"),
        ({"messages": []}, "invalid_request_error", 400, "messages"),
        (
            {"messages": [{"role": "user", "content": 7}]},
            "invalid_request_error",
            400,
            "messages.0",
        ),
        ({"max_tokens": None}, "invalid_request_error", 400, "max_tokens"),
        ({"max_tokens": -1}, "invalid_request_error", 400, "max_tokens"),
        ({"temperature": "warm"}, "invalid_request_error", 400, "temperature"),
        ({"tools": [{"name": "a"}]}, "invalid_request_error", 400, "tools.0.input_schema"),
        ({"output_config": {"format": {"type": "x"}}}, "invalid_request_error", 400, "format"),
        ({"output_format": {"type": "json_schema"}}, "invalid_request_error", 400, "format"),
        ({"tool_choice": {"type": "any"}}, "invalid_request_error", 400, "tool_choice"),
        (
            {"messages": [{"role": "user", "content": "word " * 3_000}]},
            "invalid_request_error",
            400,
            "tokens > ",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}
                        ],
                    }
                ]
            },
            "invalid_request_error",
            400,
            "image",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_anthropics_shape(
    http: httpx.Client, fields: dict[str, Any], kind: str, status: int, says: str, stream: bool
) -> None:
    body = {"model": "tiny", "max_tokens": 5, "messages": HELLO, "stream": stream} | fields
    answer = http.post("/v1/messages", json=body)
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["type"] == "error"
    assert problem["error"]["type"] == kind
    assert says in problem["error"]["message"]
    assert problem["request_id"] == answer.headers["request-id"]


def test_the_clients_exceptions_are_the_right_ones(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="nobody", messages=HELLO, max_tokens=1)
    assert caught.value.request_id
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > \d+"):
        client.messages.create(
            model="tiny", messages=[{"role": "user", "content": "w " * 6_000}], max_tokens=1
        )


def test_unknown_fields_blocks_and_roles_are_no_error(http: httpx.Client) -> None:
    body = {
        "model": "tiny",
        "max_tokens": 2,
        "messages": [
            {"role": "user", "content": [{"type": "hologram", "data": {}}], "mood": "good"},
            {"role": "narrator", "content": "Night falls."},
            {"role": "user", "content": "Hello", "cache_control": {"type": "ephemeral"}},
        ],
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "container": None,
        "mcp_servers": [],
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "safeguards": [{"type": "dangerous_tool_use"}],
        "cache_control": {"type": "ephemeral"},
        "next_month": True,
    }
    headers = {"anthropic-beta": "claude-code-20250219,next-month-2027-01-01", "x-api-key": "k"}
    assert http.post("/v1/messages?beta=true", json=body, headers=headers).status_code == 200


def test_claude_code_finds_somebody_there(http: httpx.Client) -> None:
    assert http.head("/api/hello").status_code == 200
    assert http.get("/api/hello").status_code == 200


def test_a_client_that_leaves_ends_the_sequence_and_the_row_says_so(
    client: Anthropic, daemon: LiveDaemon
) -> None:
    with client.messages.stream(messages=HELLO, max_tokens=4000, **GREEDY) as stream:
        next(iter(stream))
    daemon.wait_until(lambda: daemon.model("tiny")["requests_running"] == 0, what="an idle model")

    def rows() -> list[tuple[str, int]]:
        with closing(sqlite3.connect(f"file:{daemon.home}/fastmlx.db?mode=ro", uri=True)) as db:
            return db.execute(
                "select finish_reason, stream from usage where dialect = 'anthropic_messages' "
                "and finish_reason = 'cancelled'"
            ).fetchall()

    daemon.wait_until(lambda: ("cancelled", 1) in rows(), what="a row that says cancelled")


def test_many_streams_at_once(client: Anthropic) -> None:
    texts: list[str] = []
    lock = threading.Lock()

    def one(_: int) -> None:
        with client.messages.stream(messages=HELLO, max_tokens=12, **GREEDY) as stream:
            text = "".join(stream.text_stream)
        with lock:
            texts.append(text)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(6)))
    assert len(set(texts)) == 1


def test_the_log_says_where_a_prompt_parted_from_an_earlier_one(
    client: Anthropic, daemon: LiveDaemon
) -> None:
    rules = " ".join(f"Rule {number}: be kind." for number in range(60))
    rest = " ".join(f"Fact {number}." for number in range(150))
    for day in ("Monday", "Tuesday"):
        client.messages.create(
            model="tiny",
            system=f"{rules} Today is {day}. {rest}",
            messages=HELLO,
            max_tokens=1,
        )
    log = (daemon.home / "logs" / "fastmlx.log").read_text()
    (line,) = [line for line in log.splitlines() if "of an earlier prompt" in line]
    assert "Rule 59: be kind. Today is '" in line
    assert "came 'Monday. Fact 0." in line
    assert "now 'Tuesday. Fact 0." in line


AGENTS = sorted((Path(__file__).parents[2] / "golden" / "agents").glob("claude-code_*.json"))


@pytest.mark.parametrize("file", AGENTS, ids=lambda file: file.stem)
def test_an_agents_requests_are_answered(http: httpx.Client, file: Path) -> None:
    captured = json.loads(file.read_text("utf-8"))
    body = captured["body"] | {"model": "tiny"}
    count = http.post("/v1/messages/count_tokens?beta=true", json=body).json()["input_tokens"]
    answer = http.post(captured["path"], json=body | {"max_tokens": 2})
    assert answer.status_code == 200, answer.text
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:6] == "data: "]
    usage = events[0]["message"]["usage"]
    assert usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"] == count
    assert events[-1] == {"type": "message_stop"}
    assert events[-2]["usage"]["output_tokens"] == 2


SCHEMA = {
    "type": "object",
    "properties": {"title": {"enum": ["a", "b"]}, "sure": {"type": "boolean"}},
    "required": ["title", "sure"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_an_answer_keeps_to_its_format(http: httpx.Client, field: str) -> None:
    form: Any = {"type": "json_schema", "schema": SCHEMA}
    asked = {field: {"format": form, "effort": "low"} if field == "output_config" else form}
    # Random weights fill every gap of the JSON with spaces, up to the bound of the grammar.
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 1500}
    answer = http.post("/v1/messages", json=body | asked).json()
    (block,) = answer["content"]
    assert set(json.loads(block["text"])) == {"title", "sure"}
    assert answer["stop_reason"] == "end_turn"


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_a_demanded_tool_is_called(client: Anthropic, choice: Any) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Ulm", "Bonn"]}}}
    schema |= {"required": ["city"], "additionalProperties": False}
    weather: Any = TOOL | {"input_schema": schema}
    answer = client.messages.create(
        model="tiny",
        messages=HELLO,
        tools=[weather],
        tool_choice=choice | {"disable_parallel_tool_use": True},
        max_tokens=1500,
    )
    block = answer.content[-1]
    assert block.type == "tool_use"
    assert block.name == "weather"
    assert block.input["city"] in ("Ulm", "Bonn")
    assert answer.stop_reason == "tool_use"
