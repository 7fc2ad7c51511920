"""A supervisor over badly behaved engines, and model folders for them."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bad_engine
import folders
import psutil
from fastmlx.config.paths import Home
from fastmlx.config.settings import ModelSpec
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.supervisor.child import Timing
from fastmlx.daemon.supervisor.generation import Generation
from fastmlx.daemon.supervisor.lease import Lease
from fastmlx.daemon.supervisor.model import Declaration
from fastmlx.daemon.supervisor.pressure import Level
from fastmlx.daemon.supervisor.recovery import Recovery
from fastmlx.daemon.supervisor.status import ModelStatus
from fastmlx.daemon.supervisor.supervisor import Supervisor

MIB = 1 << 20
# Short enough for tests of a second, long enough for a machine that does other things, too.
TIMING = Timing(
    term_after_s=0.2,
    kill_after_s=0.4,
    last_words_s=0.3,
)
RECOVERY = Recovery(delay_s=0.01, max_delay_s=0.05)


class House:
    """What a test acts on: a supervisor, and the folders of its models."""

    def __init__(
        self,
        root: Path,
        *,
        limit_bytes: int = 1 << 40,
        timing: Timing = TIMING,
        recovery: Recovery = RECOVERY,
        command: Sequence[str] = (sys.executable, bad_engine.__file__),
        pressure: Callable[[], Level] = lambda: Level.NORMAL,
    ) -> None:
        self.home = Home(root)
        self.home.create()
        self.changes = 0
        self.supervisor = Supervisor(
            home=self.home,
            memory_limit_bytes=limit_bytes,
            command=command,
            on_change=self._count,
            timing=timing,
            recovery=recovery,
            pressure=pressure,
        )

    def _count(self) -> None:
        self.changes += 1

    def folder(self, name: str) -> Path:
        return self.home.models / name

    def behave(self, name: str, **behaviour: Any) -> None:
        """What the next engine of this model does; see bad_engine.Behaviour."""
        (self.folder(name) / "behaviour.json").write_text(json.dumps(behaviour))

    def starts(self, name: str) -> int:
        """How often an engine of this model was started."""
        path = self.folder(name) / "starts.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def told(self, name: str, file: str = "limits.txt") -> list[int]:
        """What the engines of this model were told of memory or, in hot.txt, of the hot tier."""
        path = self.folder(name) / file
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def declare(
        self,
        name: str,
        *,
        idle_timeout_s: float = 900.0,
        max_concurrent: int = 32,
        max_waiting: int = 128,
        max_gap_s: float | None = None,
        queue_timeout_s: float = math.inf,
        request_timeout_s: float = math.inf,
        weights_bytes: int = 1000,
        behaviour: dict[str, Any] | None = None,
        **spec: Any,
    ) -> None:
        folder = self.folder(name)
        if not folder.exists():
            folders.write_model(folder, weights_bytes=weights_bytes)
        if behaviour is not None:
            self.behave(name, **behaviour)
        declared = Declaration(
            ModelSpec(**{"path": str(folder), **spec}),
            idle_timeout_s=idle_timeout_s,
            max_concurrent=max_concurrent,
            max_waiting=max_waiting,
            max_gap_s=max_gap_s,
            queue_timeout_s=queue_timeout_s,
            request_timeout_s=request_timeout_s,
        )
        await self.supervisor.declare(name, declared)

    def status(self, name: str) -> ModelStatus:
        return next(s for s in self.supervisor.status() if s.name == name)

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, self.supervisor.status()
            await asyncio.sleep(0.005)

    async def ask(self, name: str, prompt: list[int], count: int) -> list[int]:
        """One request from beginning to end: its tokens."""
        async with self.supervisor.lease(name) as lease:
            return await tokens_of(start(lease, prompt, count))


def start(lease: Lease, prompt: list[int], count: int) -> Generation:
    return lease.generate(prompt, Sampling(max_tokens=count))


async def tokens_of(generation: Generation) -> list[int]:
    return [token async for row in generation for token in row.tokens]


def alive(pid: int) -> bool:
    """Runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
