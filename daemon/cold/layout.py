"""Where things lie under the directory, and what they take of the disk.

DIRECTORY/index.sqlite (-wal, -shm)    what is stored, for how long unused, for which model
DIRECTORY/index.lock                   held while the index is opened or replaced
DIRECTORY/blocks/a/a3f0….safetensors   one block; the folder is the first letter of its name
DIRECTORY/blocks/a/a3f0….tmp           one that is being written
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

HASH_BYTES = 20
FOLDERS = "0123456789abcdef"
SUFFIX = ".safetensors"
TEMPORARY = ".tmp"

_CLUSTER = 4096  # bytes that file systems hand out at once
_ENTRY = 128  # bytes of a name in its folder
_NAME = re.compile(rf"([0-9a-f]{{{2 * HASH_BYTES}}})(\.safetensors|\.tmp)")


def folder(directory: Path, name: str) -> Path:
    """The folder of the blocks whose hash begins with this hexadecimal digit."""
    return directory / "blocks" / name


def block_path(directory: Path, block: bytes) -> Path:
    name = block.hex()
    return folder(directory, name[0]) / (name + SUFFIX)


def temporary_path(directory: Path, block: bytes) -> Path:
    return block_path(directory, block).with_suffix(TEMPORARY)


def hash_of(name: str) -> bytes | None:
    """The hash that a file's name stands for, finished or not; None for names that are not ours."""
    match = _NAME.fullmatch(name)
    return bytes.fromhex(match[1]) if match else None


def disk_bytes(length: int) -> int:
    """What a file of this length takes of the disk, its name included."""
    return -(-length // _CLUSTER) * _CLUSTER + _ENTRY


def remove(directory: Path, block: bytes) -> None:
    """Deletes the block's file and what is left of writing it, if there is any.

    Raises OSError other than for files that are gone already.
    """
    for path in (block_path(directory, block), temporary_path(directory, block)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
