"""Responses in which the daemon runs the tools: a real MCP server, a model that says its script."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from scripted import Scripted, scripted

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = str(Path(__file__).parents[2] / "mcp_server.py")
SUMS: Any = {"type": "mcp", "server_label": "sums", "require_approval": "never"}
END = "<|im_end|>"


def called(name: str, arguments: str = '{"a": 2, "b": 3}') -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def daemon(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> AsyncIterator[Scripted]:
    async with scripted(tmp_path_factory.mktemp("mcp"), tiny_model("qwen3")) as daemon:
        declared = {"sums": {"command": sys.executable, "args": [PROGRAM]}}
        daemon.front.home.mcp.write_text(json.dumps({"mcpServers": declared}))
        following = asyncio.create_task(daemon.front.mcp.run())
        yield daemon
        following.cancel()


@pytest_asyncio.fixture(loop_scope="module")
async def client(daemon: Scripted) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=daemon.url + "/v1", api_key="x", max_retries=0) as client:
        yield client


async def test_calls_are_items_of_the_answer_and_of_the_next_prompt(
    daemon: Scripted, client: AsyncOpenAI
) -> None:
    daemon.say(f"I add.\n{called('sums__add')}{END}", f"It is 5.{END}")
    fields: Any = {"model": "m", "tools": [SUMS]}
    answer = await client.responses.create(input="What is 2 and 3?", **fields)
    kinds = [item.type for item in answer.output]
    assert kinds[:3] == ["mcp_list_tools", "message", "mcp_call"]
    assert answer.output_text.split() == ["I", "add.", "It", "is", "5."]
    listed, call = answer.output[0], answer.output[2]
    assert listed.type == "mcp_list_tools"
    assert "add" in [tool.name for tool in listed.tools]
    assert call.type == "mcp_call"
    assert (call.server_label, call.name, call.output) == ("sums", "add", "5")
    # The next turn shows the calls where they were, and does not list the tools again.
    second = await client.responses.create(input="And?", previous_response_id=answer.id, **fields)
    assert [item.type for item in second.output] == ["message"]
    assert "<tool_response>\n5\n</tool_response>" in daemon.text(len(daemon.prompts) - 1)


async def test_a_stream_tells_of_every_call(daemon: Scripted, client: AsyncOpenAI) -> None:
    two = [called("sums__add"), called("sums__add", '{"a": 2}')]
    daemon.say("\n".join(two) + END, f"Done.{END}")
    stream = await client.responses.create(input="x", model="m", tools=[SUMS], stream=True)
    events = [event async for event in stream]
    kinds = [event.type for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    for kind, count in (
        ("response.mcp_list_tools.completed", 1),
        ("response.mcp_call.in_progress", 2),
        ("response.mcp_call_arguments.done", 2),
        ("response.mcp_call.completed", 1),
        ("response.mcp_call.failed", 1),
        ("response.output_item.done", 4),
        ("response.completed", 1),
    ):
        assert kinds.count(kind) == count, kind
    assert events[-1].type == "response.completed"
    kept = [item.type for item in events[-1].response.output]
    assert kept == ["mcp_list_tools", "mcp_call", "mcp_call", "message"]


async def test_calls_are_limited_and_texts_are_items(daemon: Scripted, client: AsyncOpenAI) -> None:
    daemon.say(f"I add.{called('sums__add')}{END}", f"Again.{called('sums__add')}{END}")
    answer = await client.responses.create(
        model="m", input="x", tools=[SUMS], max_tool_calls=1, max_output_tokens=1000
    )
    assert answer.status == "incomplete"
    calls = [item for item in answer.output if item.type == "mcp_call"]
    assert [call.status for call in calls] == ["completed", "failed"]
    assert answer.output_text.split() == ["I", "add.", "Again."]


async def test_only_declared_servers_and_allowed_tools_are_offered(
    daemon: Scripted, client: AsyncOpenAI
) -> None:
    daemon.say(f"No.{END}")
    some: Any = SUMS | {"allowed_tools": ["add"]}
    counts = [
        (await client.responses.input_tokens.count(model="m", input="x", tools=tools)).input_tokens
        for tools in ([], [some], [SUMS])
    ]
    assert counts == sorted(set(counts))
    await client.responses.create(model="m", input="x", tools=[some])
    assert len(daemon.prompts[-1]) == counts[1]
    with pytest.raises(openai.NotFoundError):
        await client.responses.create(
            model="m", input="x", tools=[SUMS | {"server_label": "unknown"}]
        )
    with pytest.raises(openai.BadRequestError):
        await client.responses.create(
            model="m", input="x", tools=[SUMS | {"server_url": "https://elsewhere.example"}]
        )
