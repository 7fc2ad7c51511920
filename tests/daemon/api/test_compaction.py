"""Codex's request for a summary of a long conversation: the same input, one more turn, no tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastmlx.daemon.api.responses_fields import chat_request, read_asked
from fastmlx.daemon.api.responses_input import messages_of
from fastmlx.daemon.api.responses_recall import ToolMemory
from fastmlx.daemon.api.responses_seal import Seal
from fastmlx.daemon.protocol.requests import ChatRequest
from live import LiveDaemon

GOLDEN = Path(__file__).parents[2] / "golden" / "agents"
TURN: dict[str, Any] = json.loads((GOLDEN / "codex_tool_turn_2.json").read_text("utf-8"))["body"]
LATER: dict[str, Any] = json.loads((GOLDEN / "codex_tool_turn_3.json").read_text("utf-8"))["body"]
SUMMARY = {"type": "message", "role": "user", "content": "Write a summary for whoever goes on."}
LOCKED: dict[str, Any] = {"tools": [], "parallel_tool_calls": False}
COMPACTION = LATER | LOCKED | {"input": [*LATER["input"], SUMMARY]}


def request(body: dict[str, Any]) -> ChatRequest:
    asked = read_asked(body)
    messages = messages_of(asked.items, asked.tools, Seal(b"none"))
    return chat_request(asked, messages, client=None, stream=False)


def test_the_tools_of_a_conversation_stay_in_its_prompt_and_are_not_called() -> None:
    memory = ToolMemory(limit=2)
    before = request(TURN)
    memory.note("key", before)
    made = memory.recalled("key", request(COMPACTION))
    assert (made.tools, made.tool_choice) == (before.tools, "none")
    assert made.messages == request(COMPACTION).messages


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("another", {}),
        (None, {}),
        ("key", {"model": "another"}),
        ("key", {"tools": LATER["tools"][:1]}),
        ("key", {"input": COMPACTION["input"][1:]}),
        ("key", {"input": TURN["input"][:1]}),
    ],
)
def test_a_request_of_another_kind_gets_no_tools(key: str | None, fields: dict[str, Any]) -> None:
    memory = ToolMemory()
    memory.note("key", request(TURN))
    other = request(COMPACTION | fields)
    assert memory.recalled(key, other) is other


def test_very_large_tools_and_names_are_not_remembered() -> None:
    memory = ToolMemory()
    large = [{"type": "function", "name": "f", "description": "x" * 2**20}]
    memory.note("key", request(TURN | {"tools": large}))
    memory.note("k" * 1001, request(TURN))
    for key in ("key", "k" * 1001):
        assert memory.recalled(key, request(COMPACTION)).tools == []


def test_only_the_latest_conversations_are_remembered() -> None:
    memory = ToolMemory(limit=2)
    for key in ("a", "b", "a", "c"):
        memory.note(key, request(TURN))
    compaction = request(COMPACTION)
    recalled = {key: bool(memory.recalled(key, compaction).tools) for key in "abc"}
    assert recalled == {"a": True, "b": False, "c": True}


def test_a_compaction_finds_the_whole_conversation_in_the_cache(daemon: LiveDaemon) -> None:
    more: dict[str, Any] = {"model": "tiny", "stream": False, "max_output_tokens": 2}
    more["prompt_cache_key"] = "compaction"  # other tests send the same bodies
    with daemon.http() as http:

        def usage(path: str, body: dict[str, Any]) -> Any:
            answer = http.post(path, json=body | more)
            assert answer.status_code == 200, answer.text
            assert answer.json().get("tools", body["tools"]) == body["tools"]  # as it was asked
            return answer.json().get("usage") or answer.json()

        before = usage("/v1/responses", LATER)
        count = usage("/v1/responses/input_tokens", COMPACTION)
        after = usage("/v1/responses", COMPACTION)
    cached = after["input_tokens_details"]["cached_tokens"]
    assert count["input_tokens"] == after["input_tokens"] > before["input_tokens"]
    # All but what ends the earlier prompt: the model's turn begins there, and here the user's.
    assert cached >= before["input_tokens"] - 8
    assert cached >= 0.9 * after["input_tokens"]
