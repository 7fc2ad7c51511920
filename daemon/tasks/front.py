"""The running front: what the dialects and the admin pages share."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from ..hub.downloads import Downloads
from ..mcp.servers import McpServers
from ..protocol import caller
from . import mcp_loop
from .bench import Benchmarks
from .capabilities import Capabilities
from .chat_room import ChatRoom
from .running import RunningRequests

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ...config.paths import Home
    from ...config.state import ConfigState
    from ..access.access import Access
    from ..protocol.events import Event
    from ..protocol.requests import ChatRequest
    from ..protocol.tap import Tap
    from ..store.store import Store
    from ..supervisor.supervisor import Supervisor
    from .embed import Embedder
    from .generate import Generator
    from .rerank import Ranker
    from .tokens import TokenTools


@dataclass
class Front:
    """One daemon. Built by `daemon.app`, found at `app.ctx.front`.

    `config` is mutable: it always holds the settings in force, and the error of the last edit.
    """

    home: Home
    config: ConfigState
    supervisor: Supervisor
    store: Store
    generator: Generator
    embedder: Embedder = field(kw_only=True)
    ranker: Ranker = field(kw_only=True)
    token_tools: TokenTools = field(kw_only=True)
    access: Access = field(kw_only=True)
    capabilities: Capabilities = field(default_factory=Capabilities, kw_only=True)
    running: RunningRequests = field(default_factory=RunningRequests, kw_only=True)
    benchmarks: Benchmarks = field(init=False)
    version: str
    url: str = ""  # http://host:port as this machine reaches it
    started_at: float = field(default_factory=time.time)  # seconds since the epoch
    mcp: McpServers = field(init=False)  # connected by whoever calls its `run`
    chat_room: ChatRoom = field(init=False)
    downloads: Downloads = field(init=False)  # go on once `restore` is called

    def __post_init__(self) -> None:
        self.benchmarks = Benchmarks(self.config, self.supervisor, self.store, self.version)
        self.mcp = McpServers(self.home.mcp, self.home.logs)
        self.chat_room = ChatRoom(self.store, self.chat)
        self.downloads = Downloads(self.home.downloads, on_done=self.supervisor.look_again)

    async def close(self) -> None:
        """Ends what runs beside the engines: answers in the dashboard, servers of tools, checks."""
        await self.chat_room.close()
        await self.mcp.close()
        await self.generator.close()

    def chat(self, request: ChatRequest, tap: Tap | None = None) -> AsyncGenerator[Event, None]:
        """`Generator.chat`, with the tools of MCP servers where the request asks for them, and
        then without the tap.

        Raises Forbidden when its API key may not run such tools."""
        if request.mcp is None:
            return self.generator.chat(request, tap)
        caller.current().require(caller.Scope.TOOLS)
        return mcp_loop.chat(self.generator, self.mcp, self.config.settings.mcp, request)

    def status(self) -> dict[str, Any]:
        """The JSON of `fastmlx status --json` and `GET /api/status`: plain values only."""
        error = self.config.error
        return {
            "pid": os.getpid(),
            "version": self.version,
            "url": self.url,
            "started_at": self.started_at,
            "uptime_s": round(time.time() - self.started_at, 3),
            "config": {
                "path": str(self.config.path),
                "ok": error is None,
                "error": None if error is None else error.as_dict(),
                "loaded_at": self.config.loaded_at,
                "needs_restart": list(self.config.needs_restart),
            },
            "store": {"dropped": self.store.dropped, "problem": self.store.problem},
            "mcp": self.mcp.status(),
            "models": [msgspec.to_builtins(model) for model in self.supervisor.status()],
            "requests": [msgspec.to_builtins(each) for each in self.running.look()],
        }
