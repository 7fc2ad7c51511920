"""All downloads of a daemon: started, paused, taken up again after a restart.

    start ─► queued ─► running ─► done
               ▲  │       │ │
        resume │  └─pause─┤ └──► failed ─┐
               └──paused ◄┘              │ resume
               └─────────────────────────┘         cancel: from anywhere; what it fetched is deleted

The journal is one small file, written anew at every change of state; how far a download is, the
files in the cache say themselves. What ran when the daemon was killed runs again at the next start.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from ..protocol.errors import Conflict, DownloadFailed, DownloadNotFound, FastMLXError
from .background import in_background
from .cache_folder import replace_text
from .download import Download, Record, State
from .files import Plan
from .remote import ask_plan
from .transfer import Patience

log = logging.getLogger(__name__)

AT_ONCE = 2  # downloads; each fetches several files at once
CLOSE_S = 2.0  # at the daemon's end
KEPT = 20  # finished ones, in the list


class Downloads:
    """Owned by one event loop. `journal` None keeps nothing across restarts; `on_done` is told the
    Hub id of each that is done."""

    def __init__(
        self,
        journal: Path | None,
        patience: Patience | None = None,
        on_done: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._journal = journal
        self._on_done = on_done
        self._patience = patience or Patience()
        self._all: dict[str, Download] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._starting = asyncio.Lock()

    def restore(self) -> None:
        """What the journal knows; what was running goes on."""
        for record in self._read():
            self._all[record.id] = download = Download(record, self._patience)
            if record.state.goes_on:
                self._begin(download)

    @property
    def all(self) -> list[Download]:
        """The newest first."""
        return list(reversed(self._all.values()))

    @property
    def goes_on(self) -> bool:
        """Whether anything is being fetched, or waits to be."""
        return bool(self._tasks)

    def find(self, id: str) -> Download:
        """Raises DownloadNotFound."""
        try:
            return self._all[id]
        except KeyError:
            raise DownloadNotFound(f"There is no download '{id[:100]}'.", param="id") from None

    def of(self, model: str) -> list[Download]:
        """Those of a Hub id that are not done."""
        return [
            each
            for each in self._all.values()
            if each.plan.model == model and each.record.state is not State.DONE
        ]

    async def start(self, model: str, revision: str | None = None) -> Download:
        """Ask the Hub what the model is made of, and begin to fetch what is not here. One that was
        begun before goes on.

        Raises BadRequest, ModelNotFound, Forbidden, ModelFailed, DownloadFailed or DiskFull: then
        nothing has begun.
        """
        plan = await in_background(ask_plan, model, revision)
        async with self._starting:  # two who ask at once get the same one
            for known in self.of(model):
                same = (known.plan.revision or "main") == (revision or "main")
                if known.plan.commit == plan.commit and same:
                    return self.resume(known.record.id)
            return await self._add(plan)

    async def _add(self, plan: Plan) -> Download:
        now_ms = int(time.time() * 1000)
        record = Record(id=uuid.uuid4().hex[:12], plan=plan, started_ms=now_ms)
        download = Download(record, self._patience)
        await in_background(download.look)
        self._all[record.id] = download
        self._forget_old()
        self._begin(download)
        self._save()
        return download

    def pause(self, id: str) -> Download:
        """Raises DownloadNotFound, or Conflict when there is nothing to pause."""
        download = self.find(id)
        if not download.record.state.goes_on:
            raise Conflict(f"The download of {download.plan.model} is {download.record.state}.")
        self._halt(download)
        self._set(download, State.PAUSED)
        return download

    def resume(self, id: str) -> Download:
        """Raises DownloadNotFound, or Conflict when it is done. One that runs is left alone."""
        download = self.find(id)
        if download.record.state is State.DONE:
            raise Conflict(f"The download of {download.plan.model} is done.")
        if not download.record.state.goes_on:
            self._begin(download)
            self._save()
        return download

    async def cancel(self, id: str) -> Download:
        """Stop it, and delete what it has fetched that nothing else uses; of one that is done or
        failed forget only the entry and, if it failed, what it has left.

        Raises DownloadNotFound.
        """
        download = self.find(id)
        self._halt(download)
        del self._all[id]
        self._save()
        if download.record.state is not State.DONE:
            await download.stopped()
            shared = {
                digest for other in self.of(download.plan.model) for digest in other.plan.blobs
            }
            await in_background(download.discard, shared)
        return download

    async def finished(self, download: Download) -> None:
        """Wait until it neither runs nor waits. Raises FastMLXError: why it failed, or Conflict
        when somebody has paused or cancelled it."""
        while (task := self._tasks.get(download.record.id)) is not None:
            await asyncio.wait({task})
            await asyncio.sleep(0)  # its own last step
        record = download.record
        if record.state is State.FAILED:
            raise download.failure or DownloadFailed(record.error or "The download failed.")
        if record.state is not State.DONE:
            raise Conflict(f"The download of {record.plan.model} was stopped.")

    async def close(self) -> None:
        """At the daemon's end. The journal says that they run: at the next start they do again."""
        running = [each for each in self._all.values() if each.record.id in self._tasks]
        for download in running:
            self._halt(download)
        await asyncio.gather(*(each.stopped(CLOSE_S) for each in running))
        self._save()

    # ---- the run

    def _begin(self, download: Download) -> None:
        download.record.state = State.QUEUED
        download.record.error = download.failure = None
        download.record.ended_ms = None
        id = download.record.id
        task = self._tasks[id] = asyncio.create_task(self._run(download), name=f"download-{id}")

        def ended(_: asyncio.Task[None]) -> None:
            if self._tasks.get(id) is task:
                del self._tasks[id]

        task.add_done_callback(ended)

    def _halt(self, download: Download) -> None:
        if (task := self._tasks.pop(download.record.id, None)) is not None:
            task.cancel()

    async def _run(self, download: Download) -> None:
        async with self._slots:
            self._set(download, State.RUNNING)
            try:
                await download.run()
            except FastMLXError as error:
                download.failure = error
            except Exception as error:
                log.exception("the download of %s failed", download.plan.model)
                download.failure = DownloadFailed(f"Something went wrong: {error}")
        failure = download.failure
        download.record.error = None if failure is None else failure.message
        self._set(download, State.DONE if failure is None else State.FAILED)
        if failure is None and self._on_done is not None:
            await self._on_done(download.plan.model)

    def _set(self, download: Download, state: State) -> None:
        record = download.record
        record.state = state
        record.ended_ms = None if state.goes_on else int(time.time() * 1000)
        what = f": {record.error}" if record.error else ""
        log.info("download of %s %s%s", record.plan.model, state, what)
        self._save()

    # ---- the journal

    def _forget_old(self) -> None:
        done = [id for id, each in self._all.items() if each.record.state is State.DONE]
        for id in done[: max(0, len(done) - KEPT)]:
            del self._all[id]

    def _save(self) -> None:
        if self._journal is None:
            return
        for download in self._all.values():
            download.record.done_bytes = download.done_bytes
        records = [download.record for download in self._all.values()]
        try:
            replace_text(self._journal, msgspec.json.encode(records).decode())
        except OSError as error:
            log.warning("%s cannot be written: %s", self._journal, error)

    def _read(self) -> list[Record]:
        if self._journal is None:
            return []
        try:
            return msgspec.json.decode(self._journal.read_bytes(), type=list[Record])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s cannot be read, downloads are forgotten: %s", self._journal, error)
            return []


def listed(downloads: Downloads) -> list[dict[str, Any]]:
    """`GET /api/downloads`."""
    return [download.as_json() for download in downloads.all]
