"""A new text of config.yaml on disk: whole or not at all, and never over somebody else's edit."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import stat
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from .load import read_text

_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_AT_FDCWD = -100  # of Linux
# Who opened the old file in the very instant of the exchange has written to it after so long.
_LATE_S = 0.02
_lock = threading.Lock()  # one of our own editors at a time


class FileChanged(Exception):
    """The file no longer holds the text that was edited; `text` is what it holds now."""

    def __init__(self, text: str) -> None:
        super().__init__("the file was changed meanwhile")
        self.text = text


def fingerprint(text: str) -> str:
    """Names a text, for the form in which it is edited."""
    return _fingerprint(text.encode())


def _fingerprint(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def current_text(path: Path) -> str:
    """What an editor begins with; "" where there is no file. Raises ConfigError."""
    return read_text(path) if os.path.lexists(path) else ""


def save(path: Path, edited: str, text: str) -> None:
    """Write `text` in the place of the text whose fingerprint is `edited`. Blocks.

    The old file is exchanged for the new one in one step and then looked at, twice: what another
    program saved in the last instant, or still writes, is put back. Links are followed,
    permissions stay.

    Raises FileChanged, ConfigError (the file cannot be read), OSError.
    """
    with _lock:
        target = Path(os.path.realpath(path))
        now = current_text(target)
        if fingerprint(now) != edited:
            raise FileChanged(now)
        if now == text:
            return
        new = _written(target, text)
        try:
            _put(new, target, edited)
        finally:
            new.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _written(target: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode())
        file.flush()
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
        os.fsync(descriptor)
    return Path(name)


def _put(new: Path, target: Path, edited: str) -> None:
    """`new` is `target` from now on, if that was still the text that was edited."""
    ours = _content(new)
    if not target.exists():
        _create(new, target)
    elif not _exchange(new, target):
        new.replace(target)
    elif not _is_still(new, edited):
        _put_back(new, target, ours)
        raise FileChanged(current_text(target))


def _create(new: Path, target: Path) -> None:
    try:
        target.hardlink_to(new)
    except FileExistsError:
        raise FileChanged(current_text(target)) from None
    except OSError:  # a disk without links
        new.replace(target)


def _is_still(displaced: Path, edited: str) -> bool:
    """Whether the file that was exchanged holds what was edited, and nobody was about to write to
    it."""
    if _fingerprint(_content(displaced)) != edited:
        return False
    time.sleep(_LATE_S)
    return _fingerprint(_content(displaced)) == edited


def _put_back(displaced: Path, target: Path, put: bytes) -> None:
    """`target`, where we have put `put`, is again what others saved: the newest of it."""
    while True:
        theirs = _content(displaced)
        if not _exchange(displaced, target):
            displaced.replace(target)
            return
        if _content(displaced) == put:
            return
        put = theirs  # and what was displaced now is newer


def _content(path: Path) -> bytes:
    """b"" for what cannot be read, so that it is no text that was edited."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _exchange(one: Path, other: Path) -> bool:
    """Swap the two files in one step; False where the system or its disk cannot."""
    names = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            return _libc().renamex_np(*names, _SWAP) == 0
        return _libc().renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _SWAP) == 0
    except (AttributeError, OSError):
        return False
