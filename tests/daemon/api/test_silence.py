"""What comes over a stream while the model says nothing, and when it will say nothing more: through
the packages that people use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic import AsyncAnthropic
from fastmlx.daemon.api import sse
from fastmlx.daemon.supervisor.supervisor import ENGINE_COMMAND
from openai import AsyncOpenAI
from scripted import Scripted, scripted
from scripted_engine import DIE, PAUSE

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
BEATS = {
    CHAT: ": ping",
    COMPLETIONS: ": ping",
    MESSAGES: "event: ping",
    RESPONSES: "event: response.in_progress",
}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}


def asked(path: str, text: str, limit: int = 900) -> dict[str, Any]:
    said = [{"role": "user", "content": text}]
    bodies: dict[str, dict[str, Any]] = {
        CHAT: {"messages": said, "max_tokens": limit},
        COMPLETIONS: {"prompt": text, "max_tokens": limit},
        MESSAGES: {"messages": said, "max_tokens": limit},
        RESPONSES: {"input": text, "max_output_tokens": limit},
    }
    return {"model": "m", "stream": True} | bodies[path]


@pytest.fixture
async def front(tmp_path: Path, tiny_model: Callable[..., Path]) -> AsyncIterator[Scripted]:
    recovery = {"delay": "10ms", "max_delay": "10ms"}
    async with scripted(tmp_path, tiny_model("qwen3"), recovery=recovery) as front:
        yield front


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats come fifty times a second."""
    monkeypatch.setattr(sse, "GRACE_S", 0.005)
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.02)


async def frames(url: str, path: str, body: dict[str, Any]) -> list[str]:
    async with httpx.AsyncClient(base_url=url, timeout=120) as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return [frame for frame in answer.text.split("\n\n") if frame]


def beats(path: str, given: list[str]) -> int:
    return sum(frame.startswith(BEATS[path]) for frame in given)


def place(given: list[str], *words: str) -> int:
    """Of the first frame that holds one of the words."""
    return next(i for i, frame in enumerate(given) if any(word in frame for word in words))


async def test_heartbeats_come_while_a_long_prompt_is_computed(
    tmp_path: Path, tiny_model: Callable[..., Path], often: None
) -> None:
    """By the real engine, which is loaded by then and has nothing else to do."""
    async with scripted(tmp_path, tiny_model("qwen3"), command=ENGINE_COMMAND) as front:
        await frames(front.url, COMPLETIONS, asked(COMPLETIONS, "Hello", 1))
        for number, path in enumerate(BEATS):
            long = f"{number} is the number. " + "What a long story this is! " * 40
            given = await frames(front.url, path, asked(path, long, 2))
            first = place(given, '"content":"', '"text":"', "message_start", "output_item")
            assert beats(path, given[:first]) > 1, given[: first + 1]


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
async def test_heartbeats_come_while_the_text_of_a_call_is_withheld(
    front: Scripted, often: None, path: str
) -> None:
    front.say(
        [
            "Now.\n<tool_call>\n{",
            PAUSE,
            '"name": "find", "argu',
            'ments": {"city": "Ulm"}}\n</tool_call><|im_end|>',
        ]
    )
    function = {"name": "find", "parameters": PARAMETERS}
    tool = {
        CHAT: {"type": "function", "function": function},
        MESSAGES: {"name": "find", "input_schema": PARAMETERS},
        RESPONSES: {"type": "function"} | function,
    }[path]
    given = await frames(front.url, path, asked(path, "Rain?") | {"tools": [tool]})
    text = place(given, '"content":"', "text_delta", "output_text.delta")
    call = place(given, '"tool_calls":[', '"tool_use"', '"function_call"')
    assert beats(path, given[text:call]) > 1, given
    assert not any("tool_call>" in frame for frame in given)


async def test_every_package_raises_what_ended_a_stream_after_what_was_said(
    front: Scripted,
) -> None:
    """The engine dies in the same answer twice: that is given up."""
    said = "Once upon a time"
    front.say([said, DIE])
    got: list[str] = []
    hello: Any = [{"role": "user", "content": "Hello"}]
    asked: Any = {"model": "m"}
    async with AsyncOpenAI(base_url=front.url + "/v1", api_key="x", max_retries=0) as client:
        with pytest.raises(openai.APIError, match="died 2 times") as ended:
            chat: Any = await client.chat.completions.create(messages=hello, stream=True, **asked)
            async for chunk in chat:
                got.append(chunk.choices[0].delta.content or "")
        body: Any = ended.value.body
        assert (body["type"], body["code"]) == ("server_error", "engine_died")
        assert "".join(got) == said

        got.clear()
        with pytest.raises(openai.APIError, match="died 2 times"):
            async for chunk in await client.completions.create(prompt="x", stream=True, **asked):
                got.append(chunk.choices[0].text)
        assert "".join(got) == said

        # What this API's packages hand on as events.
        events: list[Any] = [
            event async for event in await client.responses.create(input="x", stream=True, **asked)
        ]
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(deltas) == said
        *_, error, failed = events
        assert (error.type, error.code) == ("error", "engine_died")
        assert "died 2 times" in error.message
        assert failed.type == "response.failed"
        assert failed.response.error.message == error.message
        kept = await client.responses.retrieve(failed.response.id)
        assert (kept.status, kept.output_text) == ("failed", said)

    got.clear()
    async with AsyncAnthropic(base_url=front.url, api_key="x", max_retries=0) as claude:
        with pytest.raises(anthropic.APIStatusError, match="died 2 times") as told:
            async with claude.messages.stream(messages=hello, max_tokens=90, **asked) as stream:
                async for text in stream.text_stream:
                    got.append(text)
        body = told.value.body
        assert body["error"]["type"] == "api_error"
    assert "".join(got) == said
