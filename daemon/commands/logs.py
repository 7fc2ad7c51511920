"""Show the end of the daemon's log, or with MODEL that of the model's engine."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...config.errors import ConfigError
from ...config.paths import Home
from .failure import Failure
from .terminal import harmless

POLL_S = 0.2
BLOCK = 64 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a declared model, or its alias")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what is written, until Ctrl-C"
    )
    parser.add_argument(
        "-n", "--lines", type=_count, default=100, metavar="N", help="how many lines (100)"
    )


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    path = home.log_file if args.model is None else engine_log(home, args.model)
    if not path.exists() and not args.follow:
        whose = "the daemon" if args.model is None else harmless(args.model)
        raise Failure(f"{whose} has written no log yet: {path}")
    try:
        for piece in follow(path, args.lines) if args.follow else [tail(path, args.lines)]:
            sys.stdout.write(harmless(piece))
            sys.stdout.flush()
    except KeyboardInterrupt:
        if not args.follow:
            raise
    return 0


def engine_log(home: Home, name: str) -> Path:
    """The log of the engine of a model, which may be named by an alias.

    Raises Failure when nothing of that name was ever there.
    """
    from ...config.load import load_file
    from ..supervisor.model import file_name

    def path(name: str) -> Path:
        return home.logs / f"engine-{file_name(name)}.log"

    try:
        found = load_file(home.config).find(name)
    except ConfigError:
        found = None  # a broken file must not keep anybody from reading a log
    if found is not None:
        return path(found.name)
    if not path(name).exists():
        raise Failure(f"there is no model {name!r}; `fastmlx list` shows what is declared")
    return path(name)


def tail(path: Path, num_lines: int) -> str:
    """The last lines of a file; its first line may be cut by a rotation, not by us."""
    with path.open("rb") as file:
        return _tail(file, num_lines).decode(errors="replace")


def follow(path: Path, num_lines: int) -> Iterator[str]:
    """The last lines, then what is appended; goes on in the new file after a rotation, from the
    start after a truncation, and waits for a file that is not there (yet). Never ends."""
    file: BinaryIO | None = None
    pending = b""  # the beginning of a line, or of a character, whose rest is not written yet
    first = True
    try:
        while True:
            if file is None:
                try:
                    file = path.open("rb")
                except FileNotFoundError:
                    time.sleep(POLL_S)
                    first = False  # a file that appears later is new: show it whole
                    continue
                if first:
                    pending += _tail(file, num_lines)
                first = False
            pending += file.read()
            complete, newline, pending = pending.rpartition(b"\n")
            if newline:
                yield (complete + newline).decode(errors="replace")
            if _was_replaced(file, path):
                # What came between our last read and the rotation is still in the old file.
                pending += file.read()
                if pending:
                    yield pending.decode(errors="replace") + "\n"
                file.close()
                file, pending = None, b""
            else:
                if os.fstat(file.fileno()).st_size < file.tell():
                    file.seek(0)
                time.sleep(POLL_S)
    finally:
        if file is not None:
            file.close()


def _was_replaced(file: BinaryIO, path: Path) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False  # in the middle of a rotation, or for good: the old file stays open
    ours = os.fstat(file.fileno())
    return (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino)


def _tail(file: BinaryIO, num_lines: int) -> bytes:
    """The last lines, read from the end in blocks; `file` is then at its end."""
    position = end = file.seek(0, os.SEEK_END)
    if num_lines == 0:
        return b""
    content = b""
    # The end of the last line is one line break more than there are lines.
    while position > 0 and content.count(b"\n") <= num_lines:
        step = min(BLOCK, position)
        position -= step
        file.seek(position)
        content = file.read(step) + content
    file.seek(end)
    # Not splitlines: progress bars write carriage returns.
    lines = [line + b"\n" for line in content.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return b"".join((lines if lines[-1] else lines[:-1])[-num_lines:])


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return int(text)
