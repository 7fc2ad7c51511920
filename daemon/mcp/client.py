"""The SDK's client for one declared server. The only module here that knows the SDK's transports.

Importing it takes a second and some 30 MB: import it where the first server is declared.

Source: https://modelcontextprotocol.io/specification/2025-06-18/basic/transports
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import anyio
import httpx2
import mcp_types as types
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from .declared import ServerSpec
from .error_log import ErrorLog

HTTP_TIMEOUT = httpx2.Timeout(30.0, read=600.0)
# Where programs are installed; a service starts with little more than /usr/bin.
USUAL_FOLDERS = ("~/.local/bin", "/opt/homebrew/bin", "/usr/local/bin")

Ended = Callable[[bool], None]


@asynccontextmanager
async def connected(
    spec: ServerSpec, errors: ErrorLog, on_change: Ended
) -> AsyncGenerator[Client, None]:
    """A client that has shaken hands. `on_change(True)` when the server is gone, `on_change(False)`
    when it says that its tools have changed.

    Raises whatever the SDK raises; `reason` makes a sentence of it.
    """

    async def on_message(message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            on_change(False)

    refused: set[int] = set()
    try:
        async with _transport(spec, errors, refused) as (read, write):
            info = types.Implementation(name="fastmlx", version=version("fastmlx"))
            streams = _Streams(_Noticing(read, lambda: on_change(True)), write)
            client = Client(streams, client_info=info, message_handler=on_message, cache=None)
            async with client, _listening(client, on_change):
                yield client
    except Exception as error:
        if refused:
            raise Refused(refused.pop()) from error
        raise


class Refused(Exception):
    """A server behind HTTP does not let us in."""

    def __init__(self, status: int) -> None:
        super().__init__(
            f"the server answers with HTTP {status}: it wants to know who asks. Give its entry in "
            'mcp.json what it needs in "headers", as {"Authorization": "Bearer ${TOKEN}"} with '
            "TOKEN in the daemon's environment; fastmlx cannot sign in with a browser (OAuth)"
        )


@asynccontextmanager
async def _transport(
    spec: ServerSpec, errors: ErrorLog, refused: set[int]
) -> AsyncGenerator[Any, None]:
    """The two streams. `refused` gets the statuses of answers that do not let us in: the SDK tells
    no more than that there was an error."""

    async def look(response: httpx2.Response) -> None:
        if response.status_code in (401, 403):
            refused.add(response.status_code)

    def client(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        hooks: dict[str, Any] = {"response": [look]}
        return httpx2.AsyncClient(
            headers=headers, timeout=timeout or HTTP_TIMEOUT, auth=auth, event_hooks=hooks
        )

    async with AsyncExitStack() as stack:
        if spec.transport == "stdio":
            stderr = stack.enter_context(errors.open())
            yield await stack.enter_async_context(stdio_client(_program(spec), errlog=stderr))
        elif spec.transport == "sse":
            yield await stack.enter_async_context(
                sse_client(spec.url, headers=spec.headers, httpx_client_factory=client)
            )
        else:
            http = client(spec.headers)
            await stack.enter_async_context(http)
            yield await stack.enter_async_context(
                streamable_http_client(spec.url, http_client=http)
            )


def _program(spec: ServerSpec) -> StdioServerParameters:
    """The program behind its minder. Raises FileNotFoundError when there is none."""
    path = spec.env.get("PATH") or os.pathsep.join(
        [os.environ.get("PATH", os.defpath), *(str(Path(p).expanduser()) for p in USUAL_FOLDERS)]
    )
    folder = Path(spec.cwd).expanduser() if spec.cwd else Path.home()
    command = os.path.expanduser(spec.command)  # noqa: PTH111 (a bare name stays one)
    found = shutil.which(command, path=path)
    if found is None:
        raise FileNotFoundError(f"there is no program '{spec.command}' in PATH")
    minder = str(Path(__file__).with_name("minder.py"))
    return StdioServerParameters(
        command=sys.executable,
        args=["-I", "-S", minder, str(os.getpid()), found, *spec.args],
        env={"PATH": path} | spec.env,
        cwd=folder,
    )


@asynccontextmanager
async def _listening(client: Client, on_change: Ended) -> AsyncGenerator[None, None]:
    """Servers of the newest protocol tell of changes only to who asks."""
    tools = client.server_capabilities.tools
    if client.session.discover_result is None or not (tools and tools.list_changed):
        yield
        return

    async def listen() -> None:
        try:
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    on_change(False)
        except (MCPError, RuntimeError, TimeoutError):
            on_change(False)  # does it still answer?

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        yield
        group.cancel_scope.cancel()


class _Noticing:
    """A read stream that tells when it ends: the SDK's session does not."""

    def __init__(self, stream: Any, on_end: Callable[[], None]) -> None:
        self._stream = stream
        self._on_end = on_end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except BaseException:
            self._on_end()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> Any:
        return await self._stream.__aexit__(*error)


class _Streams:
    """Streams that are open already, in the shape of a transport."""

    def __init__(self, read: Any, write: Any) -> None:
        self._streams = (read, write)

    async def __aenter__(self) -> Any:
        return self._streams

    async def __aexit__(self, *_: object) -> None:
        return None


def reason(error: BaseException | None, errors: ErrorLog | None = None) -> str:
    """Why a connection or a call came to nothing, in a line for people; with the last that the
    program wrote to stderr (`errors`), which usually says it best."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is None:
        said = "the server ended the connection"
    elif isinstance(error, httpx2.HTTPStatusError):
        said = f"the server answers with HTTP {error.response.status_code}"
    elif isinstance(error, httpx2.TransportError):
        said = f"the server cannot be reached ({str(error) or type(error).__name__})"
    elif isinstance(error, Refused | MCPError | OSError | RuntimeError):
        said = str(error) or type(error).__name__
    else:
        said = f"{type(error).__name__}: {error}"
    last = errors.tail() if errors is not None else ""
    return " ".join(f"{said}. It said: {last}".split()) if last else " ".join(said.split())
