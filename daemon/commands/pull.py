"""Fetch a model from the Hugging Face Hub into its cache, where every program finds it.

The daemon fetches it when one runs, so that its dashboard shows it, too; Ctrl-C pauses it. What is
already there is not fetched again, and what broke off goes on where it stopped. Gated models need
HF_TOKEN or `hf auth login`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

from ...config.paths import looks_like_folder
from .client import Daemon, NotRunning, daemon_of
from .failure import Failure
from .terminal import duration, harmless, size

ASK_EVERY_S = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="organisation/name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit")


def run(args: argparse.Namespace) -> int:
    if looks_like_folder(args.id) or args.id.startswith("builtin:"):
        raise Failure(f"{args.id} is not on the Hub; a folder needs no pull")
    line = _Line()
    try:
        try:
            folder = _through(daemon_of(args), args.id, args.revision, line)
        except NotRunning:
            folder = asyncio.run(_here(args.id, args.revision, line))
    finally:
        line.end()
    print(harmless(folder))
    return 0


def _through(daemon: Daemon, id: str, revision: str | None, line: _Line) -> str:
    """The daemon fetches. Raises Failure."""
    known = {each["id"] for each in daemon.get("/api/downloads")["downloads"] if _goes_on(each)}
    download = daemon.post("/api/downloads", {"id": id, "revision": revision})
    address = f"/api/downloads/{download['id']}"
    try:
        while _goes_on(download):
            line.show(download)
            time.sleep(ASK_EVERY_S)
            download = daemon.get(address)
    except KeyboardInterrupt:
        if download["id"] not in known:
            daemon.post(f"{address}/pause")
        raise
    if download["state"] != "done":
        raise Failure(download["error"] or f"the download is {download['state']}")
    return download["folder"]


async def _here(id: str, revision: str | None, line: _Line) -> str:
    """Without a daemon: this process fetches. Raises Failure."""
    from ..hub.downloads import Downloads
    from ..protocol.errors import FastMLXError

    downloads = Downloads(None)
    try:
        download = await downloads.start(id, revision)
        finished = asyncio.create_task(downloads.finished(download))
        while not finished.done():
            line.show(download.as_json())
            await asyncio.wait({finished}, timeout=ASK_EVERY_S)
        finished.result()
        return str(download.snapshot)
    except FastMLXError as error:
        raise Failure(error.message) from None
    finally:
        await downloads.close()


def _goes_on(download: dict[str, Any]) -> bool:
    return download["state"] in ("queued", "running")


class _Line:
    """One line on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        self._shown = False

    def show(self, download: dict[str, Any]) -> None:
        if not sys.stderr.isatty():
            return
        self._shown = True
        done, total = download["done_bytes"], download["total_bytes"]
        parts = [f"{size(done)} of {size(total)}{f' ({done / total:.0%})' if total else ''}"]
        if download["bytes_per_s"]:
            parts.append(f"{size(download['bytes_per_s'])}/s")
        if download["eta_s"] is not None:
            parts.append(f"{duration(download['eta_s'])} left")
        if download["state"] == "queued":
            parts.append("waits for another download")
        print(f"\r\x1b[K{', '.join(parts)}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
