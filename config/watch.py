"""A saved config.yaml → the settings it declares, or what is wrong with it, within a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

from .errors import ConfigError
from .load import load, read_text
from .settings import Settings

_log = logging.getLogger(__name__)

_STEP_MS = 50  # a save is one event when nothing follows for this long …
_DEBOUNCE_MS = 100  # … and at the latest after this
_TICK_MS = 250  # look at the file this often although no event came (network mounts, new folders)
_POLL_S = 0.25  # where there are no events
_POLLS_BEFORE_RETRY = 40
_SETTLE_S = 0.05
_SETTLE_EMPTY_S = 0.25
_MAX_LINKS = 16


async def watch(
    path: Path, *, known: str | None = None, environ: Mapping[str, str] | None = None
) -> AsyncGenerator[Settings | ConfigError, None]:
    """What each change of the file at `path` means, from now on, until cancelled or closed.

    `known` is the text that is already in force; without it, what the file holds at the first
    step. Only another text (or another failure to read one) counts as a change, so that saving
    without an edit yields nothing, and a bad edit that is taken back yields the good settings
    again. Atomic replacement, deletion, a folder in its place and symbolic links are followed.
    """
    seen = _identity(_content(path)) if known is None else known
    before: object = None
    async with aclosing(_wakes(path)) as wakes:
        async for _ in wakes:
            if signature_of(path) == before:
                continue
            before = await _settled(path)
            content = _content(path)
            if _identity(content) == seen:
                continue
            seen = _identity(content)
            yield _declared(content, path, environ)


def _content(path: Path) -> str | ConfigError:
    try:
        return read_text(path)
    except ConfigError as error:
        return error


def _identity(content: str | ConfigError) -> object:
    return (str(content),) if isinstance(content, ConfigError) else content


def _declared(
    content: str | ConfigError, path: Path, environ: Mapping[str, str] | None
) -> Settings | ConfigError:
    if isinstance(content, ConfigError):
        return content
    try:
        return load(content, path, environ)
    except ConfigError as error:
        return error


def signature_of(path: Path) -> object:
    """Changes whenever the file does, also by replacement. Follows links."""
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


async def _settled(path: Path) -> object:
    """Wait until a save is complete, and return the file's signature.

    An editor that writes in place leaves an empty file for a moment, one that renames leaves
    none. Both would mean "no models", so they must last longer to be believed.
    """
    clock = asyncio.get_running_loop().time
    start = since = clock()
    signature = signature_of(path)
    while True:
        is_empty = not isinstance(signature, tuple) or signature[2] == 0
        needed = _SETTLE_EMPTY_S if is_empty else _SETTLE_S
        now = clock()
        if now - since >= needed or now - start >= 2 * _SETTLE_EMPTY_S:
            return signature
        await asyncio.sleep(_SETTLE_S)
        if (current := signature_of(path)) != signature:
            signature, since = current, clock()


async def _wakes(path: Path) -> AsyncGenerator[None, None]:
    """One item whenever it is worth looking at the file, the first at once."""
    warned = False
    while True:
        folders = _folders(path)
        try:
            events = awatch(
                *folders,
                watch_filter=None,  # looking costs less than deciding whether to look
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                rust_timeout=_TICK_MS,
                yield_on_timeout=True,
                recursive=False,
                force_polling=False,
            )
            async with aclosing(events):
                yield  # a change between our reader and this watch
                async for _ in events:
                    yield
                    if _folders(path) != folders:
                        break
        except (OSError, RuntimeError) as error:
            # Out of inotify watches, no such folder, a file system without events.
            if not warned:
                _log.warning("%s is polled, as watching it failed: %s", path.name, error)
                warned = True
            for _ in range(_POLLS_BEFORE_RETRY):
                yield
                await asyncio.sleep(_POLL_S)


def _folders(path: Path) -> list[Path]:
    """The folders in which a change can replace the file: its own, and those of links' targets."""
    folders = [path.parent]
    for _ in range(_MAX_LINKS):
        try:
            path = path.parent / path.readlink()
        except OSError:  # no link: the end of the chain
            break
        if path.parent not in folders and path.parent.is_dir():
            folders.append(path.parent)
    return folders
