"""Real servers, started, lost and found again; by the SDK, over all three transports."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastmlx.daemon.mcp.connection import State
from fastmlx.daemon.mcp.servers import McpServers
from fastmlx.daemon.protocol.errors import (
    BadRequest,
    ToolFailed,
    ToolNotFound,
    ToolTimeout,
    ToolUnavailable,
)

PROGRAM = str(Path(__file__).parents[2] / "mcp_server.py")
OURS = {"command": sys.executable, "args": [PROGRAM]}


async def until(true: Callable[[], object], timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def save(home: Path, servers: dict[str, Any] | str) -> None:
    text = servers if isinstance(servers, str) else json.dumps({"mcpServers": servers})
    new = home / "mcp.new"
    new.write_text(text)
    new.replace(home / "mcp.json")


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[McpServers]:
    servers = McpServers(home / "mcp.json", home)
    task = asyncio.create_task(servers.run())
    try:
        yield servers
    finally:
        task.cancel()
        await servers.close()


def start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def state(servers: McpServers, name: str) -> State:
    return servers.find(name).state


async def test_tools_are_called_and_may_fail(tmp_path: Path) -> None:
    note = tmp_path / "note"
    save(tmp_path, {"one": OURS | {"env": {"COLOUR": "green"}}, "gone": {"command": "no-such"}})
    async with running(tmp_path) as servers:
        await until(lambda: servers.connections)
        await servers.find("one").settled.wait()
        await servers.find("gone").settled.wait()

        async def call(tool: str, timeout_s: float = 10.0, **arguments: Any) -> Any:
            return await servers.call(servers.tool(tool), arguments, timeout_s)

        assert (await call("add", a=2, b=3)).text == "5"
        assert (await call("one__add", a=2, b=3)).structured == {"result": 5}
        assert (await call("environment", name="COLOUR")).text == "green"
        failed = await call("fail")
        assert failed.is_error
        with pytest.raises(ToolTimeout, match=r"within 0\.2 s"):
            await call("wait", 0.2, seconds=30, note=str(note))
        await until(note.exists)  # the server was told to give up
        with pytest.raises(ToolNotFound, match="no-tool"):
            servers.tool("no-tool")
        with pytest.raises(ToolUnavailable, match="no program 'no-such'"):
            servers.tool("add", "gone")
        with pytest.raises(ToolNotFound, match="one, gone"):
            servers.tool("add", "nobody")
        assert "no program" in str(servers.find("gone").error)


async def test_a_server_that_dies_comes_back_and_says_its_last_words(tmp_path: Path) -> None:
    save(tmp_path, {"one": OURS})
    async with running(tmp_path) as servers:
        await until(lambda: servers.tools())
        with pytest.raises(ToolFailed, match="I was told to die"):
            await servers.call(servers.tool("die"), {}, 10)
        await until(lambda: state(servers, "one") is not State.READY)
        await until(lambda: state(servers, "one") is State.READY)
        assert (await servers.call(servers.tool("add"), {"a": 1, "b": 1}, 10)).text == "2"


async def test_a_saved_file_is_followed_and_a_broken_one_is_not(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    async with running(tmp_path) as servers:
        assert servers.tools() == []
        save(tmp_path, {"one": {**OURS, "args": [PROGRAM, "--pid", str(pid)]}})
        await until(lambda: servers.tools())
        process = psutil.Process(int(pid.read_text()))

        save(tmp_path, '{"mcpServers": {"one": {"command": []}}}')
        await until(lambda: servers.error)
        assert servers.error is not None
        assert servers.error.key == "mcpServers.one.command"
        assert servers.status()["error"]["text"].startswith("mcp.json")
        assert servers.tools()

        one = {**OURS, "args": [PROGRAM, "--pid", str(pid)]}
        save(tmp_path, {"two": {"command": "no-such", "disabled": True}, "one": one})
        await until(lambda: servers.error is None)
        assert [each.name for each in servers.connections] == ["two", "one"]
        assert process.is_running()  # its entry did not change
        assert state(servers, "two") is State.DISABLED

        (tmp_path / "mcp.json").unlink()
        await until(lambda: not servers.connections)
        await until(lambda: not process.is_running())


async def test_several_servers_may_have_the_same_tool(tmp_path: Path) -> None:
    save(tmp_path, {"one": OURS, "two words": OURS})
    async with running(tmp_path) as servers:
        await until(lambda: len(servers.tools()) == 10)
        with pytest.raises(BadRequest, match="one, two words"):
            servers.tool("add")
        assert servers.tool("add", "two words").server == "two words"
        assert servers.tool("two_words__add").server == "two words"


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_server_behind_http_may_be_restarted(tmp_path: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    path = {"http": "mcp", "sse": "sse"}[kind]
    command = [sys.executable, PROGRAM, kind, str(port)]
    program = start(command)
    try:
        save(tmp_path, {"far": {"url": f"http://127.0.0.1:{port}/{path}", "type": kind}})
        async with running(tmp_path) as servers:
            await until(lambda: servers.tools())
            assert (await servers.call(servers.tool("add"), {"a": 1, "b": 1}, 10)).text == "2"
            tool = servers.tool("add")
            program.kill()
            program.wait()
            with pytest.raises((ToolFailed, ToolUnavailable)):
                await servers.call(tool, {"a": 1, "b": 1}, 10)
            await until(lambda: state(servers, "far") is not State.READY)
            assert servers.tools() == []
            program = start(command)
            await until(lambda: servers.tools())
            assert (await servers.call(servers.tool("add"), {"a": 3, "b": 1}, 10)).text == "4"
    finally:
        program.kill()
        program.wait()


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_server_that_wants_to_know_who_asks_says_what_to_do(
    tmp_path: Path, kind: str
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        save(tmp_path, {"far": {"type": kind, "url": f"http://127.0.0.1:{port}/mcp"}})
        async with running(tmp_path) as servers:
            await until(lambda: servers.connections and servers.connections[0].error)
            error = servers.connections[0].error or ""
            assert "HTTP 401" in error
            assert '"headers"' in error
            assert "Bearer ${TOKEN}" in error


@pytest.mark.parametrize("kind", ["http", "sse"])
async def test_a_server_cannot_lead_us_elsewhere(tmp_path: Path, kind: str) -> None:
    trap = socket.create_server(("127.0.0.1", 0))
    trap.setblocking(False)
    location = b"http://127.0.0.1:%d/reboot" % trap.getsockname()[1]

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: " + location)
        writer.write(b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    with trap:
        async with await asyncio.start_server(redirect, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            save(tmp_path, {"far": {"type": kind, "url": f"http://127.0.0.1:{port}/mcp"}})
            async with running(tmp_path) as servers:
                await until(lambda: servers.connections and servers.connections[0].error)
        with pytest.raises(BlockingIOError):
            trap.accept()


def test_no_server_outlives_a_daemon_that_was_killed(tmp_path: Path) -> None:
    """SIGKILL leaves the daemon no last word: the minder beside each program ends it, also one
    that heeds neither the end of its stdin nor SIGTERM."""
    pid = tmp_path / "pid"
    save(tmp_path, {"one": {**OURS, "args": [PROGRAM, "--pid", str(pid), "--stubborn"]}})
    script = """
import asyncio, pathlib, sys
from fastmlx.daemon.mcp.servers import McpServers
home = pathlib.Path(sys.argv[1])
servers = McpServers(home / "mcp.json", home)
async def main():
    task = asyncio.create_task(servers.run())
    while not servers.tools():
        await asyncio.sleep(0.02)
    print("ready", flush=True)
    await task
asyncio.run(main())
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"
        left = psutil.Process(daemon.pid).children(recursive=True)
        assert int(pid.read_text()) in [each.pid for each in left]
        assert len(left) == 2
        daemon.kill()
    try:
        _, alive = psutil.wait_procs(left, timeout=15)
        assert alive == []
    finally:
        for each in left:
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
