"""All MCP servers: mcp.json → connections, kept equal to it while the daemon runs.

A saved file is compared with what is connected: an entry that did not change keeps its connection.
A broken file changes nothing; `error` says what is wrong until it is saved again without.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...config.errors import ConfigError
from ...config.load import read_text
from ...config.watch import signature_of
from ..protocol.caller import Scope, current
from ..protocol.errors import BadRequest, ToolNotFound, ToolUnavailable
from .connection import Connection, McpTool, State
from .declared import ServerSpec, read
from .error_log import ErrorLog
from .names import function_names
from .results import ToolResult

log = logging.getLogger(__name__)

# Looking twice a second costs less than a second watcher of the same folder would.
LOOK_S = 0.4
TRIM_EVERY = 25  # looks; a program may write for months
_NOT_READ = object()


class McpServers:
    """What mcp.json declares. `run` keeps it connected until `close`. One event loop only."""

    def __init__(self, path: Path, logs: Path) -> None:
        self.path = path
        self.error: ConfigError | None = None  # of the file as it is; what was connected stays
        self.loaded_at: float | None = None  # seconds since the epoch; of the last good file
        self._logs = logs
        self._connections: dict[str, Connection] = {}
        self._seen: object = _NOT_READ
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()

    # ---- life

    async def run(self) -> None:
        """Reads the file, now and whenever it is saved, until cancelled."""
        seen = known = signature_of(self.path)
        await self.reload()
        for look in itertools.count(1):
            await asyncio.sleep(LOOK_S)
            if look % TRIM_EVERY == 0:
                for connection in self.connections:
                    await asyncio.to_thread(connection.trim_log)
            signature = signature_of(self.path)
            # Twice the same: whoever writes is done.
            if signature == seen and signature != known:
                known = signature
                try:
                    await self.reload()
                except Exception:  # a daemon that no longer hears of edits is worse
                    log.exception("%s could not be taken", self.path.name)
            seen = signature

    async def reload(self) -> None:
        """Takes the file as it is now, if its text is another one."""
        try:
            text = await asyncio.to_thread(_text, self.path)
        except ConfigError as error:
            text = error
        identity = (str(text),) if isinstance(text, ConfigError) else text
        if identity == self._seen:
            return
        self._seen = identity
        try:
            if isinstance(text, ConfigError):
                raise text
            self.declare(read(text, self.path, os.environ))
        except ConfigError as error:
            self.error = error
            log.error("%s; what was connected stays", error)
            return
        self.error = None
        self.loaded_at = time.time()

    def declare(self, specs: dict[str, ServerSpec]) -> None:
        """These servers and no others. Does not wait for any."""
        if self._closed:
            return
        old = self._connections
        kept = {name for name, spec in specs.items() if name in old and old[name].spec == spec}
        for name in old.keys() - kept:
            log.info("MCP server %s: %s", name, "changed" if name in specs else "removed")
            self._stop(old[name])
        self._connections = {
            name: old[name] if name in kept else Connection(name, spec, ErrorLog(self._logs, name))
            for name, spec in specs.items()
        }
        for name in specs.keys() - kept:
            self._connections[name].start()

    async def close(self) -> None:
        """Ends all connections; returns when the programs of all servers are gone."""
        self._closed = True
        for connection in self._connections.values():
            self._stop(connection)
        if self._closing:
            await asyncio.wait(self._closing)

    def _stop(self, connection: Connection) -> None:
        task = asyncio.create_task(connection.stop())
        self._closing.add(task)  # the event loop keeps only weak references
        task.add_done_callback(self._closing.discard)

    # ---- use

    @property
    def connections(self) -> list[Connection]:
        """In the file's order."""
        return list(self._connections.values())

    def find(self, name: str) -> Connection:
        """Raises ToolNotFound, which says what there is."""
        found = self._connections.get(name)
        if found is None:
            known = ", ".join(self._connections) or "none (mcp.json declares no server)"
            raise ToolNotFound(
                f"There is no MCP server '{name[:200]}'. Declared: {known}.", param="server"
            )
        return found

    def tools(self, servers: Iterable[str] | None = None) -> list[McpTool]:
        """Of all servers that are connected, or of these. Raises ToolNotFound."""
        wanted = self.connections if servers is None else [self.find(name) for name in servers]
        return [tool for connection in wanted for tool in connection.tools]

    async def ready_tools(self, servers: Iterable[str] | None, wait_s: float) -> list[McpTool]:
        """The same for a request that needs them: servers that are about to connect for the first
        time are waited for. Raises ToolUnavailable when one that is named has no connection."""
        wanted = self.connections if servers is None else [self.find(name) for name in servers]
        waiting = [asyncio.ensure_future(each.settled.wait()) for each in wanted]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=wait_s)
            for task in late:
                task.cancel()
        for each in wanted:
            if servers is not None and each.state is not State.READY:
                message = f"The MCP server '{each.name}' is not connected: {each.trouble}."
                raise ToolUnavailable(message, param="mcp")
        return [tool for connection in wanted for tool in connection.tools]

    def tool(self, name: str, server: str | None = None) -> McpTool:
        """The tool that a client means by its own name, with or without its server's, or by the
        name that models see. Raises ToolNotFound, ToolUnavailable, and BadRequest when several
        servers have it."""
        if server is not None:
            connection = self.find(server)
            if connection.state is not State.READY:
                raise ToolUnavailable(
                    f"The MCP server '{server}' is not connected: {connection.trouble}."
                )
            found = [tool for tool in connection.tools if tool.name == name]
        else:
            tools = self.tools()
            found = [tool for tool in tools if tool.name == name]
            if not found and (tool := function_names(tools).get(name)):
                return tool
        if len(found) > 1 and server is None:
            several = ", ".join(tool.server for tool in found)
            raise BadRequest(
                f"Several MCP servers have a tool '{name[:200]}': {several}. Say which one.",
                param="server",
            )
        if not found:
            where = f"The MCP server '{server}'" if server else "No connected MCP server"
            lacks = "has no" if server else "has a"
            raise ToolNotFound(f"{where} {lacks} tool '{name[:200]}'.", param="name")
        return found[0]

    async def call(self, tool: McpTool, arguments: dict[str, Any], timeout_s: float) -> ToolResult:
        """Runs a tool of `tools()`. Raises as `Connection.call`."""
        connection = self._connections.get(tool.server)
        if connection is None:
            raise ToolUnavailable(f"The MCP server '{tool.server}' was removed meanwhile.")
        return await connection.call(tool.name, arguments, timeout_s)

    def status(self) -> dict[str, Any]:
        """Plain values, for `GET /api/status` and `GET /v1/mcp/servers`."""
        whole = current().may(Scope.ADMIN)
        return {
            "path": str(self.path),
            "ok": self.error is None,
            "error": None if self.error is None else self.error.as_dict(),
            "loaded_at": self.loaded_at,
            "servers": [
                {
                    "name": each.name,
                    "transport": each.spec.transport,
                    "where": each.spec.where(whole=whole),
                    "state": str(each.state),
                    "server_info": each.server_info,
                    "tools": len(each.tools),
                    "error": each.error,
                    "attempts": each.attempts,
                    "connected_at": each.connected_at,
                }
                for each in self.connections
            ],
        }


def _text(path: Path) -> str:
    """ "" when there is no file. Raises ConfigError."""
    return read_text(path).removeprefix("\ufeff") if path.exists() else ""
