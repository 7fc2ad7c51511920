"""Chat in which the daemon runs the tools: a real MCP server, a model that says what it is told."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastmlx.config.mcp import McpSettings
from fastmlx.config.settings import Settings
from openai import APIStatusError, AsyncOpenAI
from scripted import Scripted, scripted

pytestmark = pytest.mark.asyncio(loop_scope="module")

PROGRAM = str(Path(__file__).parents[2] / "mcp_server.py")
ASKED: list[Any] = [{"role": "user", "content": "What is 2 and 3?"}]
MCP = {"mcp": True}
CLOCK: Any = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}
END = "<|im_end|>"


def called(name: str, arguments: str = '{"a": 2, "b": 3}') -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def daemon(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> AsyncIterator[Scripted]:
    root = tmp_path_factory.mktemp("mcp")
    async with scripted(root, tiny_model("qwen3")) as daemon:
        declared = {
            "sums": {"command": sys.executable, "args": [PROGRAM]},
            "gone": {"command": "no-such-program"},
        }
        daemon.front.home.mcp.write_text(json.dumps({"mcpServers": declared}))
        following = asyncio.create_task(daemon.front.mcp.run())
        yield daemon
        following.cancel()


@pytest_asyncio.fixture(loop_scope="module")
async def client(daemon: Scripted) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=daemon.url + "/v1", api_key="x", max_retries=0) as client:
        yield client


def limit(daemon: Scripted, **settings: Any) -> None:
    config = daemon.front.config
    given = {"models": config.settings.models, "mcp": McpSettings(**settings)}
    config.accept(Settings(**given))


async def test_the_daemon_calls_and_the_model_answers(
    daemon: Scripted, client: AsyncOpenAI
) -> None:
    daemon.say(f"I add.\n{called('sums__add')}{END}", f"It is 5.{END}")
    answer = await client.chat.completions.create(model="m", messages=ASKED, extra_body=MCP)
    choice = answer.choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.tool_calls is None
    assert (choice.message.content or "").split() == ["I", "add.", "It", "is", "5."]
    assert answer.model_extra is not None
    (call,) = answer.model_extra["mcp_calls"]
    assert (call["server"], call["name"], call["output"]) == ("sums", "add", "5")
    assert (call["status"], call["round"]) == ("completed", 1)
    assert json.loads(call["arguments"]) == {"a": 2, "b": 3}
    assert "The sum of two whole numbers." in daemon.text(0)
    assert "<tool_response>\n5\n</tool_response>" in daemon.text(1)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum(len(prompt) for prompt in daemon.prompts)
    assert len(daemon.prompts) == 2


async def test_a_stream_tells_of_every_call_and_nothing_breaks(
    daemon: Scripted, client: AsyncOpenAI
) -> None:
    both = called("sums__add") + called("sums__fail", "{}")
    daemon.say(f"I try.\n{both}{END}", f"Five, I think.{END}")
    stream = await client.chat.completions.create(
        model="m",
        messages=ASKED,
        stream=True,
        stream_options={"include_usage": True},
        extra_body=MCP,
    )
    text, told, finished, usage = "", [], [], None
    async for chunk in stream:
        usage = chunk.usage or usage
        told += [(chunk.model_extra or {}).get("mcp_call")]
        for choice in chunk.choices:
            text += choice.delta.content or ""
            assert choice.delta.tool_calls is None
            finished += [choice.finish_reason] if choice.finish_reason else []
    calls = [(call["name"], call["status"]) for call in told if call]
    assert calls[:2] == [("add", "running"), ("fail", "running")]
    assert sorted(calls[2:]) == [("add", "completed"), ("fail", "failed")]
    assert finished == ["stop"]
    assert text.split() == ["I", "try.", "Five,", "I", "think."]
    assert usage is not None
    assert usage.prompt_tokens == sum(len(prompt) for prompt in daemon.prompts)
    assert daemon.text(1).index("\n5\n") < daemon.text(1).index("Error executing tool fail")


async def test_the_clients_own_tools_end_the_turn(daemon: Scripted, client: AsyncOpenAI) -> None:
    daemon.say(f"{called('sums__add')}{called('clock', '{}')}{END}")
    answer = await client.chat.completions.create(
        model="m", messages=ASKED, tools=[CLOCK], extra_body=MCP
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == ["clock"]
    assert answer.model_extra is not None
    (skipped,) = answer.model_extra["mcp_calls"]
    assert skipped["status"] == "skipped"
    assert len(daemon.prompts) == 1


async def test_rounds_and_time_are_limited(daemon: Scripted, client: AsyncOpenAI) -> None:
    limit(daemon, max_rounds=1, timeout="300ms")
    daemon.say(called("sums__wait", '{"seconds": 30}') + END)
    answer = await client.chat.completions.create(model="m", messages=ASKED, extra_body=MCP)
    limit(daemon)
    assert answer.choices[0].finish_reason == "length"
    assert answer.model_extra is not None
    first, second = answer.model_extra["mcp_calls"]
    assert (first["status"], second["status"]) == ("failed", "skipped")
    assert "no answer within 0.3 s" in first["output"]
    assert "no answer within 0.3 s" in daemon.text(1)
    assert "max_rounds" in second["output"]


async def test_wrong_arguments_are_told_to_the_model(daemon: Scripted, client: AsyncOpenAI) -> None:
    daemon.say(called("sums__add", '{"a": "x"}') + END, f"Sorry.{END}")
    answer = await client.chat.completions.create(model="m", messages=ASKED, extra_body=MCP)
    assert answer.choices[0].message.content == "Sorry."
    assert "valid integer" in daemon.text(1)


async def test_a_client_that_leaves_stops_the_tool(
    daemon: Scripted, client: AsyncOpenAI, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    arguments = json.dumps({"seconds": 60, "note": str(note)})
    daemon.say(called("sums__wait", arguments) + END)
    stream = await client.chat.completions.create(
        model="m", messages=ASKED, stream=True, extra_body=MCP
    )
    async for chunk in stream:
        if (chunk.model_extra or {}).get("mcp_call"):
            break
    await stream.close()
    async with asyncio.timeout(10):
        while not note.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_request_that_waits_for_tools_is_among_those_that_run_and_can_be_cancelled(
    daemon: Scripted, client: AsyncOpenAI, tmp_path: Path
) -> None:
    arguments = json.dumps({"seconds": 60, "note": str(tmp_path / "note")})
    daemon.say(called("sums__wait", arguments) + END)
    asking = asyncio.create_task(
        client.chat.completions.create(model="m", messages=ASKED, extra_body=MCP)
    )
    running = daemon.front.running
    async with asyncio.timeout(30):
        while [each.phase for each in running.look()] != ["tools"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert running.cancel(running.look()[0].number)
    with pytest.raises(APIStatusError) as raised:
        await asking
    assert raised.value.status_code == 499
    assert running.look() == []


async def test_what_cannot_be_is_refused(daemon: Scripted, client: AsyncOpenAI) -> None:
    async def refused(**more: Any) -> APIStatusError:
        with pytest.raises(APIStatusError) as caught:
            await client.chat.completions.create(model="m", messages=ASKED, **more)
        return caught.value

    assert (await refused(extra_body={"mcp": ["nobody"]})).status_code == 404
    assert (await refused(extra_body={"mcp": ["gone"]})).status_code == 503
    assert (await refused(extra_body={"mcp": True}, n=2)).status_code == 400
    assert (await refused(extra_body={"mcp": 7})).status_code == 400


async def test_the_tools_are_there_for_programs_too(daemon: Scripted) -> None:
    async with httpx.AsyncClient(base_url=daemon.url, timeout=30) as http:
        servers = (await http.get("/v1/mcp/servers")).json()
        states = {each["name"]: each["state"] for each in servers["servers"]}
        assert states["sums"] == "ready"
        assert states["gone"] in ("waiting", "connecting")
        tools = (await http.get("/v1/mcp/tools?server=sums")).json()["tools"]
        assert tools[0]["function"] == "sums__add"
        assert tools[0]["input_schema"]["required"] == ["a", "b"]

        async def execute(**body: Any) -> httpx.Response:
            return await http.post("/v1/mcp/execute", json=body)

        done = (await execute(name="add", arguments={"a": 1, "b": 2})).json()
        assert (done["text"], done["is_error"], done["server"]) == ("3", False, "sums")
        assert (await execute(name="fail", server="sums")).json()["is_error"]
        late = await execute(name="wait", arguments={"seconds": 9}, timeout=0.2)
        assert late.status_code == 504
        assert late.json()["error"]["code"] == "tool_timeout"
        for status, body in (
            (404, {"name": "subtract"}),
            (404, {"name": "add", "server": "nobody"}),
            (503, {"name": "add", "server": "gone"}),
            (400, {"name": "add", "timeout": 1e9}),
            (400, {"arguments": {}}),
        ):
            assert (await execute(**body)).status_code == status, body
        assert (await http.get("/v1/mcp/tools?server=nobody")).status_code == 404
        assert (await http.get("/api/status")).json()["mcp"]["ok"]
