"""Events in, bytes on the wire out: tests/golden/streams/*.txt.

A file holds the options of the request as JSON, one event a line (msgspec's tagged JSON), a line
of dashes, and what is sent. `FASTMLX_GOLDEN=write pytest …` writes the second half anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastmlx.daemon.api import anthropic_answer, ollama_answer
from fastmlx.daemon.api.errors import reply_to
from fastmlx.daemon.api.openai_answer import Envelope
from fastmlx.daemon.api.openai_chat_answer import ChatAnswer, ChatStream
from fastmlx.daemon.api.openai_completions_answer import CompletionAnswer, CompletionStream
from fastmlx.daemon.api.responses_events import Options, ResponseWriter
from fastmlx.daemon.api.responses_fields import read_asked
from fastmlx.daemon.api.responses_object import response_object, wants_summary
from fastmlx.daemon.api.responses_seal import Seal
from fastmlx.daemon.api.sse import DONE
from fastmlx.daemon.protocol.errors import EngineDied
from fastmlx.daemon.protocol.events import Event

FOLDER = Path(__file__).parents[2] / "golden" / "streams"
LINE = "-" * 32 + "\n"
CREATED = 1700000000


def envelope(request_id: str, options: dict[str, Any]) -> Envelope:
    return Envelope(request_id=request_id, created=CREATED, model="demo", version="1.0", **options)


def chat_stream(events: list[Event], options: dict[str, Any]) -> bytes:
    writer = ChatStream(envelope("chatcmpl-1", options))
    return b"".join(writer.encode(event) for event in events) + DONE


def chat_error(events: list[Event], options: dict[str, Any]) -> bytes:
    writer = ChatStream(envelope("chatcmpl-1", options))
    frames = [writer.encode(event) for event in events]
    return b"".join(frames) + writer.encode_error(EngineDied("The engine died twice.")) + DONE


def chat_answer(events: list[Event], options: dict[str, Any]) -> bytes:
    answer = ChatAnswer(envelope("chatcmpl-1", options))
    for event in events:
        answer.add(event)
    return answer.encode() + b"\n"


def completion_stream(events: list[Event], options: dict[str, Any]) -> bytes:
    writer = CompletionStream(envelope("cmpl-1", options))
    return b"".join(writer.encode(event) for event in events) + DONE


def completion_answer(events: list[Event], options: dict[str, Any]) -> bytes:
    answer = CompletionAnswer(envelope("cmpl-1", options))
    for event in events:
        answer.add(event)
    return answer.encode() + b"\n"


def message_envelope(options: dict[str, Any]) -> anthropic_answer.Envelope:
    return anthropic_answer.Envelope(
        **{"message_id": "msg_1", "request_id": "r1", "model": "demo", "max_tokens": 9} | options
    )


def message_stream(events: list[Event], options: dict[str, Any]) -> bytes:
    writer = anthropic_answer.MessageStream(message_envelope(options))
    return b"".join(writer.encode(event) for event in events)


def message_error(events: list[Event], options: dict[str, Any]) -> bytes:
    writer = anthropic_answer.MessageStream(message_envelope(options))
    frames = [writer.encode(event) for event in events]
    return b"".join(frames) + writer.encode_error(EngineDied("The engine died twice."))


def message_answer(events: list[Event], options: dict[str, Any]) -> bytes:
    answer = anthropic_answer.MessageAnswer(message_envelope(options))
    for event in events:
        answer.add(event)
    return answer.encode() + b"\n"


def ollama_envelope(options: dict[str, Any]) -> ollama_answer.Envelope:
    created_at = "2026-11-21T12:00:00.5Z"
    return ollama_answer.Envelope(
        **{"request_id": "r1", "model": "demo", "created_at": created_at, "chat": True} | options
    )


def ollama_stream(events: list[Event], options: dict[str, Any]) -> bytes:
    writer = ollama_answer.AnswerLines(ollama_envelope(options))
    lines = [writer.encode(event) for event in events]
    return b"".join([*lines[:2], writer.heartbeat, *lines[2:]])


def ollama_error(events: list[Event], options: dict[str, Any]) -> bytes:
    writer = ollama_answer.AnswerLines(ollama_envelope(options))
    lines = [writer.encode(event) for event in events]
    return b"".join(lines) + writer.encode_error(EngineDied("The engine died twice."))


def ollama_whole(events: list[Event], options: dict[str, Any]) -> bytes:
    answer = ollama_answer.Answer(ollama_envelope(options))
    for event in events:
        answer.add(event)
    return answer.encode() + b"\n"


def response_writer(options: dict[str, Any]) -> ResponseWriter:
    asked = read_asked({"model": "demo", "input": "Hello"} | options)
    asked.mark, asked.created_at = "1", float(CREATED)
    seal = Seal(b"1" * 32) if asked.includes("reasoning.encrypted_content") else None
    items = Options(asked.mark, asked.tools, wants_summary(asked), seal)
    return ResponseWriter(response_object(asked), items, clock=lambda: CREATED + 1)


def response_stream(events: list[Event], options: dict[str, Any]) -> bytes:
    writer = response_writer(options)
    frames = [frame for event in events for frame in writer.encode(event)]
    writer.finish()
    return b"".join([*frames, *writer.end()])


def response_error(events: list[Event], options: dict[str, Any]) -> bytes:
    writer = response_writer(options)
    frames = [*writer.begin(), *writer.beat()]
    frames += [frame for event in events for frame in writer.encode(event)]
    return b"".join([*frames, *writer.fail(reply_to(EngineDied("The engine died twice."), "r1"))])


WRITERS: dict[str, Callable[[list[Event], dict[str, Any]], bytes]] = {
    each.__name__: each
    for each in (
        chat_stream,
        chat_error,
        chat_answer,
        completion_stream,
        completion_answer,
        message_stream,
        message_error,
        message_answer,
        ollama_stream,
        ollama_error,
        ollama_whole,
        response_stream,
        response_error,
    )
}


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_events_become_these_bytes(path: Path) -> None:
    given, _, expected = path.read_text("utf-8").partition(LINE)
    first, *lines = given.removesuffix("\n").split("\n")  # texts may hold U+2028
    head = json.loads(first)
    events = [msgspec.json.decode(line, type=Event) for line in lines]
    written = WRITERS[head["writer"]](events, head["options"]).decode()
    if os.environ.get("FASTMLX_GOLDEN") == "write":
        path.write_text(given + LINE + written, "utf-8")
    else:
        assert written == expected


def test_the_golden_files_are_there() -> None:
    assert len(list(FOLDER.glob("*.txt"))) >= len(WRITERS)
