"""An MCP server on stdin and stdout, or over HTTP (`mcp_server.py http PORT`, `… sse PORT`):
a real program, with tools that behave and tools that do not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from mcp.server import MCPServer

server = MCPServer("arithmetic", version="1.2")


@server.tool()
def add(a: int, b: int) -> int:
    """The sum of two whole numbers."""
    return a + b


@server.tool()
def environment(name: str) -> str:
    """A variable of the server's environment."""
    return os.environ.get(name, "")


@server.tool()
async def wait(seconds: float, note: str = "") -> str:
    """Takes its time. Writes to the file `note` when it is told to give up."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if note:
            Path(note).write_text("cancelled")  # noqa: ASYNC240
        raise
    return "done"


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ValueError("the disk is full")


@server.tool()
def die() -> str:
    """Ends the server at once."""
    print("I was told to die", file=sys.stderr, flush=True)
    os._exit(3)


def main() -> None:
    if "--stubborn" in sys.argv:  # neither the end of stdin nor SIGTERM ends it
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "--pid" in sys.argv:
        Path(sys.argv[sys.argv.index("--pid") + 1]).write_text(str(os.getpid()))
    if "http" in sys.argv[1:2]:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    elif "sse" in sys.argv[1:2]:
        server.run("sse", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run("stdio")
    if "--stubborn" in sys.argv:
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
