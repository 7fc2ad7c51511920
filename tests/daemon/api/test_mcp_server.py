"""The daemon as an MCP server, as the SDK's own client and a bare HTTP client see it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import httpx
import pytest
from live import LiveDaemon
from mcp import Client

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_finds_the_models_and_asks_one(daemon: LiveDaemon, mode: str) -> None:
    async with Client(daemon.url + "/mcp", mode=mode) as client:
        info = client.server_info
        assert info is not None
        assert info.name == "fastmlx"
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"list_models", "load", "unload", "generate", "embed", "usage"}
        assert tools["generate"].input_schema["required"] == ["model", "prompt"]

        async def call(name: str, **arguments: Any) -> Any:
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result
            return result.structured_content

        models = await call("list_models")
        assert [model["name"] for model in models["models"]] == ["tiny", "other"]
        said = await call("generate", model="tiny-alias", prompt="Hello", max_tokens=4)
        assert said["usage"]["output_tokens"] == 4
        assert said["finish_reason"] == "length"
        assert (await call("load", model="tiny"))["state"] == "ready"
        assert (await call("unload", model="tiny"))["state"] == "stopped"
        assert (await call("usage"))["days"] == 1

        for name, arguments, says in (
            ("generate", {"model": "no-such", "prompt": "x"}, "no model 'no-such'"),
            ("generate", {"model": "tiny"}, "prompt"),
            ("embed", {"model": "tiny", "input": "x"}, "no embeddings"),
            ("usage", {"days": -1}, "more than 0"),
        ):
            failed = await client.call_tool(name, arguments)
            assert failed.is_error
            assert says in str(failed.content)


async def test_a_call_that_is_given_up_frees_the_model(daemon: LiveDaemon) -> None:
    arguments = {"model": "other", "prompt": "Hello", "max_tokens": 4000}

    async def running(wanted: int) -> None:
        async with asyncio.timeout(30):
            while daemon.model("other")["requests_running"] != wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async with Client(daemon.url + "/mcp") as client:
        asking = asyncio.create_task(client.call_tool("generate", arguments))
        await running(1)
        asking.cancel()
        await running(0)
    params = {"name": "generate", "arguments": arguments}
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    async with httpx.AsyncClient(headers=ACCEPT) as http:  # speaks an older version
        asking = asyncio.create_task(http.post(daemon.url + "/mcp", json=call, timeout=60))
        await running(1)
        asking.cancel()
        await running(0)
    with closing(sqlite3.connect(daemon.home / "fastmlx.db")) as database:
        query = "SELECT count(*) FROM usage WHERE dialect = 'mcp' AND finish_reason = 'cancelled'"
        daemon.wait_until(lambda: database.execute(query).fetchone() == (2,))


def test_plain_http_gets_what_the_specification_says(daemon: LiveDaemon) -> None:
    with daemon.http(headers=ACCEPT) as http:
        answer = http.post("/mcp", json=INITIALIZE)
        assert answer.status_code == 200
        assert "mcp-session-id" not in answer.headers
        found = _message(answer)["result"]
        assert found["protocolVersion"] == "2025-06-18"
        assert "tools" in found["capabilities"]
        initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert http.post("/mcp", json=initialized).status_code == 202
        ping = http.post("/mcp", json={"jsonrpc": "2.0", "id": 2, "method": "ping"})
        assert _message(ping)["result"] == {}
        unknown = http.post("/mcp", json={"jsonrpc": "2.0", "id": 3, "method": "no/such"})
        assert _message(unknown)["error"]["code"] == -32601
        bomb = b'{"jsonrpc": "2.0", "id": 1, "params": [' + b"[]," * 600_000 + b"1]}"
        for body in (b"{", b"[]", bomb):
            refused = http.post("/mcp", content=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, -32600)
        assert http.get("/mcp").status_code == 405
        assert http.delete("/mcp").status_code == 405
        foreign = http.post("/mcp", json=INITIALIZE, headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403


def _message(answer: httpx.Response) -> dict[str, Any]:
    if answer.headers["content-type"].startswith("application/json"):
        return answer.json()
    lines = [line for line in answer.text.splitlines() if line.startswith("data: {")]
    return json.loads(lines[0].removeprefix("data: "))
