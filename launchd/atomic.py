"""Writing a file that another program reads: whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def holds(path: Path, content: bytes) -> bool:
    """Whether the file at `path` is exactly `content`."""
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False


def write(path: Path, content: bytes) -> bool:
    """Put `content` at `path`, mode 0644, making its folder; False when it already is exactly that.

    Temporary file in the same folder, fsync, rename.
    """
    if holds(path, content):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True
