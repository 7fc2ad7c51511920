"""One download: what it fetches, how far it is, and its run."""

from __future__ import annotations

import asyncio
import threading
import time
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from ..protocol.errors import DiskFull, FastMLXError
from .background import in_background
from .cache_folder import CacheFolder, free_bytes
from .files import Plan, RemoteFile
from .on_disk import discard
from .places import hub_cache
from .speed import Speed
from .transfer import Patience, Stopped, Transfer

FILES_AT_ONCE = 4
SPARE_BYTES = 512 << 20  # of the disk, that downloads leave alone
STOP_S = 5.0  # a thread looks up when its next bytes come


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    FAILED = "failed"  # what is here stays; it can be resumed
    DONE = "done"

    @property
    def goes_on(self) -> bool:
        """Also after a restart."""
        return self in (State.QUEUED, State.RUNNING)


class Record(msgspec.Struct, kw_only=True):
    """What is kept of a download across restarts."""

    id: str
    plan: Plan
    state: State = State.QUEUED
    error: str | None = None
    done_bytes: int = 0  # when it was written
    started_ms: int
    ended_ms: int | None = None


class Download:
    """Changed by the event loop alone, but for the figures that transfers report."""

    def __init__(self, record: Record, patience: Patience) -> None:
        self.record = record
        self.failure: FastMLXError | None = None  # of this run of the daemon
        self._patience = patience
        self._folder: CacheFolder | None = None
        self._here: dict[str, int] = {}  # digest → bytes
        self._speed = Speed()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: set[asyncio.Task[None]] = set()

    @property
    def plan(self) -> Plan:
        return self.record.plan

    @property
    def folder(self) -> CacheFolder:
        """Where it goes. The cache's place is known once the Hub's client is imported."""
        if self._folder is None:
            self._folder = CacheFolder(hub_cache(), self.plan.model)
        return self._folder

    @property
    def snapshot(self) -> Path:
        return self.folder.snapshot(self.plan.commit)

    @property
    def done_bytes(self) -> int:
        return sum(self._here.values()) if self._here else self.record.done_bytes

    def as_json(self) -> dict[str, Any]:
        """One entry of `GET /api/downloads`."""
        record, plan, now_s = self.record, self.plan, time.monotonic()
        done, total = self.done_bytes, plan.total_bytes
        is_running = record.state is State.RUNNING
        speed = self._speed.per_s(done, now_s) if is_running else 0.0
        blobs = plan.blobs
        return {
            "id": record.id,
            "model": plan.model,
            "revision": plan.revision,
            "commit": plan.commit,
            "state": record.state.value,
            "error": record.error,
            "done_bytes": done,
            "total_bytes": total,
            "files": len(blobs),
            "files_done": sum(self._here.get(d) == f.size_bytes for d, f in blobs.items())
            if self._here
            else len(blobs) * (record.state is State.DONE),
            "bytes_per_s": round(speed),
            "eta_s": round((total - done) / speed) if speed else None,
            "started_ms": record.started_ms,
            "ended_ms": record.ended_ms,
            "folder": str(self.snapshot),
        }

    async def run(self) -> None:
        """Fetch what is missing. Cancel the task to stop it, then await `stopped`.

        Raises FastMLXError.
        """
        # Its own: the run before may still be ending when this one begins.
        stop = self._stop = threading.Event()
        missing = await in_background(self.look)
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(FILES_AT_ONCE, len(missing))):
                    workers.create_task(self._work(missing, stop))
        except ExceptionGroup as group:
            raise _first(group) from None
        finally:
            stop.set()
        await in_background(self.folder.finish, self.plan)

    async def stopped(self, timeout_s: float = STOP_S) -> None:
        """Once nothing writes any more, or time is over: a thread may wait for a dead network."""
        self._stop.set()
        if self._threads:
            await asyncio.wait(self._threads, timeout=timeout_s)

    def discard(self, shared: set[str]) -> None:
        """Delete what it has fetched, but for the digests that others fetch, too. Blocking."""
        discard(self.folder, self.plan.commit, self.plan.blobs.keys() - shared)

    def look(self) -> list[RemoteFile]:
        """What is here already, and is there room for the rest? Returns what is missing. Blocking.

        Raises DiskFull.
        """
        plan, folder = self.plan, self.folder
        with self._lock:
            self._here = {d: folder.here_bytes(plan.commit, f) for d, f in plan.blobs.items()}
        self._speed = Speed()
        rest = plan.total_bytes - self.done_bytes
        free = free_bytes(folder.cache)
        if rest and rest + SPARE_BYTES > free:
            raise DiskFull(
                f"{plan.model} needs {_gib(rest)} more, and the disk of {folder.cache} has "
                f"{_gib(free)} free, {_gib(SPARE_BYTES)} of which are left alone."
            )
        folder.prepare()
        return [file for file in plan.blobs.values() if not folder.has(plan.commit, file)]

    async def _work(self, missing: list[RemoteFile], stop: threading.Event) -> None:
        while missing:
            file = missing.pop(0)
            transfer = Transfer(
                self.plan.model,
                self.plan.commit,
                file,
                self.folder,
                stop,
                lambda here_bytes, digest=file.digest: self._report(digest, here_bytes),
                self._patience,
            )
            # Shielded: a thread ends when it looks up, not when nobody waits for it any more.
            thread = asyncio.create_task(in_background(transfer.run))
            self._threads.add(thread)
            thread.add_done_callback(self._ended)
            await asyncio.shield(thread)

    def _ended(self, thread: asyncio.Task[None]) -> None:
        self._threads.discard(thread)
        if not thread.cancelled():
            thread.exception()  # looked at, also when nobody waits for it any more

    def _report(self, digest: str, here_bytes: int) -> None:
        with self._lock:
            self._here[digest] = here_bytes
            self._speed.see(sum(self._here.values()), time.monotonic())


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong; the others were stopped because of it."""
    errors: list[BaseException] = []
    for each in group.exceptions:
        errors.append(_first(each) if isinstance(each, BaseExceptionGroup) else each)
    real = [error for error in errors if not isinstance(error, Stopped)]
    known = [error for error in real if isinstance(error, FastMLXError)]
    return (known or real or errors)[0]


def _gib(num_bytes: int) -> str:
    return f"{num_bytes / (1 << 30):.1f} GiB"
