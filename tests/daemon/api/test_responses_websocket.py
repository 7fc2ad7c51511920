"""Many responses over one WebSocket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from live import LiveDaemon
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

CREATE: Any = {"type": "response.create", "model": "tiny", "temperature": 0, "store": False}


@pytest.fixture
def socket(daemon: LiveDaemon) -> Iterator[ClientConnection]:
    with connect(daemon.url.replace("http", "ws") + "/v1/responses") as socket:
        yield socket


def ask(socket: ClientConnection, **fields: Any) -> None:
    socket.send(json.dumps(CREATE | fields))


def until_end(socket: ClientConnection) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    ends = ("response.completed", "response.incomplete", "response.failed", "error")
    while not events or events[-1]["type"] not in ends:
        events.append(json.loads(socket.recv(timeout=60)))
    return events


def text_of(event: dict[str, Any]) -> str:
    return event["response"]["output"][0]["content"][0]["text"]


def test_responses_follow_each_other_and_go_on_without_the_store(
    socket: ClientConnection, daemon: LiveDaemon
) -> None:
    ask(socket, input="Hello", max_output_tokens=6)
    ask(socket, input="Hello", max_output_tokens=6)
    first, again = until_end(socket), until_end(socket)
    for events in (first, again):
        assert events[0]["type"] == "response.created"
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert text_of(first[-1]) == text_of(again[-1])
    before = first[-1]["response"]["id"]
    ask(socket, input="And?", previous_response_id=before, max_output_tokens=6)
    chained = until_end(socket)[-1]
    with daemon.openai() as client:
        said: Any = [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": text_of(first[-1])},
            {"role": "user", "content": "And?"},
        ]
        whole = client.responses.create(
            model="tiny", temperature=0, input=said, max_output_tokens=6, store=False
        )
    assert text_of(chained) == whole.output_text
    # A stored response may go on from one that is not.
    ask(
        socket,
        input="So?",
        previous_response_id=chained["response"]["id"],
        max_output_tokens=2,
        store=True,
    )
    stored = until_end(socket)[-1]["response"]
    with daemon.openai() as client:
        last = client.responses.create(
            model="tiny", input="x", previous_response_id=stored["id"], max_output_tokens=1
        )
    assert last.usage is not None
    assert last.usage.input_tokens > stored["usage"]["input_tokens"]


def test_errors_leave_the_connection_open(socket: ClientConnection) -> None:
    for frame, code, status in (
        ("{", "invalid_request", 400),
        (b"\xff\xfe", "invalid_request", 400),
        (json.dumps({"type": "response.steer"}), "invalid_request", 400),
        (json.dumps(CREATE | {"input": "x", "stream": True}), "invalid_request", 400),
        (json.dumps(CREATE | {"input": "x", "model": "gpt-9"}), "model_not_found", 404),
        (
            json.dumps(CREATE | {"input": "x", "previous_response_id": "resp_x"}),
            "previous_response_not_found",
            400,
        ),
        (json.dumps(CREATE | {"input": "word " * 3_000}), "context_length_exceeded", 400),
    ):
        socket.send(frame, text=True)  # whatever is in it
        (event,) = until_end(socket)
        assert (event["error"]["code"], event["status"]) == (code, status), frame[:80]
    ask(socket, input="Hello", max_output_tokens=1)
    assert until_end(socket)[-1]["type"] == "response.incomplete"


def test_streams_of_one_socket_run_side_by_side(socket: ClientConnection) -> None:
    for lane in ("a", "b"):
        ask(socket, input="Hello", max_output_tokens=8, stream_id=lane, ignore_eos=True)
    events: list[dict[str, Any]] = []
    while sum(event["type"] == "response.incomplete" for event in events) < 2:
        events.append(json.loads(socket.recv(timeout=60)))
    for lane in ("a", "b"):
        numbers = [e["sequence_number"] for e in events if e["stream_id"] == lane]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 8


def test_a_stream_id_that_is_done_counts_no_more(socket: ClientConnection) -> None:
    for number in range(20):
        ask(socket, input="x", model="gpt-9", stream_id=f"s{number}")
        (event,) = until_end(socket)
        assert event["error"]["code"] == "model_not_found"


def test_a_prompt_can_be_prepared_without_an_answer(socket: ClientConnection) -> None:
    ask(socket, input="word " * 100, generate=False)
    made = until_end(socket)[-1]
    assert (made["type"], made["response"]["output"]) == ("response.completed", [])
    assert made["response"]["usage"]["output_tokens"] == 0
    ask(socket, input="And?", previous_response_id=made["response"]["id"], max_output_tokens=1)
    usage = until_end(socket)[-1]["response"]["usage"]
    assert usage["input_tokens"] > made["response"]["usage"]["input_tokens"] > 100


def test_closing_the_socket_ends_what_runs(daemon: LiveDaemon) -> None:
    def running() -> int:
        return daemon.model("tiny")["requests_running"]

    with connect(daemon.url.replace("http", "ws") + "/v1/responses") as socket:
        ask(socket, input="Hello", max_output_tokens=4000, ignore_eos=True)
        daemon.wait_until(lambda: running() > 0, what="the request runs")
    daemon.wait_until(lambda: running() == 0, what="no sequence is left")


@pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")
def test_openais_client_connects(daemon: LiveDaemon) -> None:
    with daemon.openai() as client, client.responses.connect() as connection:
        connection.response.create(model="tiny", input="Hello", max_output_tokens=3)
        kinds: list[str] = []
        for event in connection:
            kinds.append(event.type)
            if event.type in ("response.completed", "response.incomplete", "error"):
                break
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.incomplete"


def test_without_an_upgrade_it_is_a_426_and_foreign_pages_are_refused(daemon: LiveDaemon) -> None:
    answer = httpx.get(daemon.url + "/v1/responses")
    assert answer.status_code == 426
    assert answer.headers["upgrade"] == "websocket"
    assert answer.json()["error"]["type"] == "invalid_request_error"
    url = daemon.url.replace("http", "ws") + "/v1/responses"
    with pytest.raises(InvalidStatus) as caught, connect(url, origin="https://evil.example"):  # pyright: ignore[reportArgumentType]
        pass
    assert caught.value.response.status_code == 403
