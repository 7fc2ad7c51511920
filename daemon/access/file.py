"""access.json in the home: what is known of API keys and of the dashboard's password, hashed.

A file beside the database and not in it: it is needed before the port is bound, without SQLAlchemy,
by commands without a daemon; and a damaged database, which is moved aside, must not open the door.
It is written whole or not at all, by one process at a time, and readable by its user alone.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ...config.errors import ConfigError
from ...config.paths import Home
from .keys import Key

MAX_BYTES = 16 * 1024**2


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The content of access.json."""

    version: int = 1
    password: str | None = None  # Argon2id, in its own notation
    keys: tuple[Key, ...] = ()


def read(home: Home) -> Kept:
    """What is kept; nothing when there is no file. Raises ConfigError, also for a file that a newer
    fastmlx wrote: an unreadable lock is not an open door."""
    path = home.access
    try:
        content = path.read_bytes()
        kept = msgspec.json.decode(content, type=Kept)
    except FileNotFoundError:
        return Kept()
    except OSError as error:
        raise ConfigError(path, None, None, "", f"cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(path, None, None, "", f"is damaged: {error}") from error
    if kept.version != Kept().version:
        message = f"was written by another version of fastmlx ({kept.version})"
        raise ConfigError(path, None, None, "version", message)
    return kept


def change(home: Home, edit: Callable[[Kept], Kept]) -> Kept:
    """Replaces the content by what `edit` makes of it; other processes wait meanwhile.

    Raises what `edit` raises, ConfigError as `read`, and OSError; then nothing has changed.
    """
    home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home.run / "access.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = read(home)
        after = edit(before)
        if after != before:
            write_private(home.access, _text(after))
        return after


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, mode 0600. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:  # mkstemp made it 0600
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def mark_of(home: Home) -> Any:
    """Changes when the file does; None while there is none. Costs some microseconds."""
    try:
        status = home.access.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _text(kept: Kept) -> bytes:
    return msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n"
