"""One connection to one MCP server: one task owns it, from the first byte to the last.

    connecting ──► ready ──► waiting ──► connecting …
        └───────────────────────▲
    stopped: after `stop()`, or never started

The SDK's session is entered and left in that task alone, as its cancel scopes require; calls come
from other tasks. A connection that ends or cannot be made is made again, later each time.
"""

from __future__ import annotations

import asyncio
import enum
import importlib
import logging
import random
import time
from typing import TYPE_CHECKING, Any

import msgspec

from ..protocol.errors import ToolFailed, ToolTimeout, ToolUnavailable
from ..supervisor.backoff import delay_s
from .declared import ServerSpec
from .error_log import ErrorLog
from .results import ToolResult, read_result

if TYPE_CHECKING:
    import anyio
    from mcp import Client

log = logging.getLogger(__name__)

CONNECT_S = 60.0  # npx and uvx fetch a program at its first start
ASK_S = 20.0  # for a list of tools
CHECK_S = 60.0  # a server behind HTTP does not tell when it goes
BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 120.0
FORGET_S = 60.0  # a connection that lasted so long is made again almost at once
MAX_PAGES = 50  # of a list of tools


class State(enum.StrEnum):
    STOPPED = "stopped"
    CONNECTING = "connecting"
    READY = "ready"
    WAITING = "waiting"  # to try again
    DISABLED = "disabled"


class McpTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as its server describes it; `input_schema` is a JSON schema of an object."""

    server: str
    name: str
    description: str
    input_schema: dict[str, Any]
    title: str | None = None


class Connection:
    """The connection to the server `name`. Use from one event loop only."""

    def __init__(self, name: str, spec: ServerSpec, errors: ErrorLog) -> None:
        self.name = name
        self.spec = spec
        self.state = State.DISABLED if spec.disabled else State.STOPPED
        self.tools: tuple[McpTool, ...] = ()
        self.error: str | None = None  # why the last connection failed or ended
        self.attempts = 0  # in a row that came to nothing
        self.connected_at: float | None = None  # seconds since the epoch
        self.server_info = ""  # name and version, as the server says
        self.settled = asyncio.Event()  # set once the first attempt has ended, well or not
        self._errors = errors
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._scope: anyio.CancelScope | None = None
        self._wake = asyncio.Event()  # look: the server ended, or its tools changed
        self._ended = False
        self._was_ready = False
        self._again = False  # reconnect at once
        self._stopping = False

    # ---- life

    def start(self) -> None:
        """Begins to connect, and keeps at it until `stop`. Nothing for a disabled server."""
        if self.spec.disabled:
            self.settled.set()
            return
        self._task = asyncio.create_task(self._own(), name=f"mcp {self.name}")

    async def stop(self) -> None:
        """Ends the connection; returns when a program that was started is gone."""
        self._stopping = True
        self._interrupt()
        if self._task is not None:
            await asyncio.wait({self._task})
        self.state = State.STOPPED
        self.settled.set()

    def reconnect(self) -> None:
        """Makes the connection anew, at once."""
        if self.spec.disabled or self._stopping:
            return
        self.attempts = 0
        self._again = True
        self._lose(State.CONNECTING)
        self._interrupt()

    def trim_log(self) -> None:
        """Keeps small what the server's program writes to stderr. Blocks."""
        self._errors.trim()

    def _lose(self, state: State) -> None:
        """At once, although taking a connection down may take seconds."""
        self.state, self._client, self.tools, self.connected_at = state, None, (), None

    def _interrupt(self) -> None:
        self._wake.set()
        if self._scope is not None:
            self._scope.cancel()

    async def _own(self) -> None:
        while not self._stopping:
            self.state = State.CONNECTING
            self._wake.clear()
            self._ended = self._again = False
            since = time.monotonic()
            self._was_ready = False
            problem = await self._connection()
            self._lose(State.WAITING)
            if self._stopping or self._again:
                continue
            is_known = problem == self.error  # the log need not hear it every two minutes
            self.error = problem
            lasted = self._was_ready and time.monotonic() - since >= FORGET_S
            self.attempts = 1 if lasted else self.attempts + 1
            self.settled.set()
            wait_s = self._delay_s()
            log.log(
                logging.DEBUG if is_known else logging.WARNING,
                "MCP server %s: %s; trying again in %.1f s",
                self.name,
                problem,
                wait_s,
            )
            self._wake.clear()
            await _wait(self._wake, wait_s)

    def _delay_s(self) -> float:
        return delay_s(
            self.attempts,
            base_s=BACKOFF_BASE_S,
            cap_s=BACKOFF_CAP_S,
            jitter=random.random(),  # noqa: S311 (only spreads retries)
        )

    async def _connection(self) -> str:
        """One connection, until it ends. Returns why it did."""
        # A second of importing, while others are served.
        await asyncio.to_thread(importlib.import_module, ".client", __package__)
        import anyio

        from .client import connected, reason

        if self._stopping or self._again:  # meanwhile
            return ""
        try:
            with anyio.CancelScope() as self._scope:
                with anyio.fail_after(CONNECT_S) as patience:
                    async with connected(self.spec, self._errors, self._change) as client:
                        self.tools = await self._list(client)
                        patience.deadline = float("inf")
                        self._ready(client)
                        await self._serve(client)
        except TimeoutError:
            return "the server did not answer in time"
        except Exception as error:
            return reason(error, self._errors)
        finally:
            self._scope = None
        return reason(None, self._errors)

    def _ready(self, client: Client) -> None:
        info = client.server_info
        self.server_info = f"{info.name} {info.version}".strip() if info else ""
        self._was_ready = True
        self._client = client
        self.connected_at = time.time()
        self.error = None
        self.state = State.READY
        self.settled.set()
        log.info("MCP server %s: connected, %d tools", self.name, len(self.tools))

    async def _serve(self, client: Client) -> None:
        """Until the connection ends: the tools are listed again when the server says so, when a
        call failed, and now and then where nothing else would show that the server is gone."""
        check_s = None if self.spec.transport == "stdio" else CHECK_S
        while not self._ended:
            await _wait(self._wake, check_s)
            if self._ended:
                return
            self._wake.clear()
            tools = await self._list(client)
            if self._client is None:
                return
            if tools != self.tools:
                log.info("MCP server %s: now has %d tools", self.name, len(tools))
            self.tools = tools

    def _change(self, ended: bool) -> None:
        """From the transport: the server is gone, or (False) has other tools now."""
        if ended:
            self._ended = True
            self._lose(State.WAITING)
        self._wake.set()

    async def _list(self, client: Client) -> tuple[McpTool, ...]:
        tools: list[McpTool] = []
        cursor: str | None = None
        async with asyncio.timeout(ASK_S):
            for _ in range(MAX_PAGES):
                page = await client.list_tools(cursor=cursor, cache_mode="refresh")
                tools += [
                    McpTool(
                        server=self.name,
                        name=tool.name,
                        title=tool.title,
                        description=tool.description or "",
                        input_schema=dict(tool.input_schema),
                    )
                    for tool in page.tools
                ]
                cursor = page.next_cursor
                if not cursor:
                    break
        return tuple(tools)

    # ---- use

    async def call(self, tool: str, arguments: dict[str, Any], timeout_s: float) -> ToolResult:
        """Runs a tool. When this is cancelled the server is told.

        Raises ToolUnavailable when there is no connection, ToolTimeout, and ToolFailed when the
        server answers with an error of the protocol or the connection ends meanwhile. A tool that
        fails by itself returns a result that says so.
        """
        from .client import reason

        client = self._client
        if client is None:
            raise ToolUnavailable(f"The MCP server '{self.name}' is not connected: {self.trouble}.")
        try:
            async with asyncio.timeout(timeout_s):
                return read_result(await client.call_tool(tool, arguments))
        except TimeoutError:
            raise ToolTimeout(
                f"The tool '{tool}' of the MCP server '{self.name}' gave no answer within "
                f"{timeout_s:g} s."
            ) from None
        except Exception as error:
            self._wake.set()  # does the server still answer?
            raise ToolFailed(
                f"The tool '{tool}' of the MCP server '{self.name}' failed: "
                f"{reason(error, self._errors if self._ended else None)}."
            ) from error

    @property
    def trouble(self) -> str:
        """Why there is no connection, in a few words."""
        return self.error or f"it is {self.state}"


async def _wait(event: asyncio.Event, timeout_s: float | None) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
