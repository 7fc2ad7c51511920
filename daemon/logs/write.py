"""Python's logging → logs/fastmlx.log, one JSON object a line, and the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from ...config.paths import Home
from .context import whose
from .entry import LEVELS, Entry, encode, for_people, shortened, timestamp
from .secrets import without_secrets

FILE_BYTES = 10 * 1024**2
FILES = 5  # beside the one that is being written
SERVICE_BYTES = 1024**2
# They tell of every event, and of every address: those of the Hub's files are signed.
TELLTALES = ("watchfiles", "httpx", "httpx2", "httpcore", "httpcore2")


def set_up(home: Home, level: str) -> None:
    """Everything of this process goes to logs/fastmlx.log, which rotates, and to stderr: but not
    a service's, whose stderr is a file that nobody rotates."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    # A full disk is no reason to fill the terminal, or a service's log, with tracebacks.
    logging.raiseExceptions = False
    handlers: list[logging.StreamHandler[Any]] = []
    try:
        handlers.append(
            LogFile(home.log_file, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8")
        )
        handlers[0].setFormatter(JsonLines())
    except OSError as error:
        print(f"fastmlx: no log file: {error}", file=sys.stderr)
    is_service = bool(os.environ.get("FASTMLX_SERVICE"))  # set by launchd/program.py
    if is_service:
        trim(home.service_log)
    if not handlers or not is_service:
        console = logging.StreamHandler()
        console.setFormatter(Readable())
        handlers.append(console)
    for name in TELLTALES:
        logging.getLogger(name).setLevel(logging.WARNING)
    for handler in handlers:
        root.addHandler(handler)


def reopen() -> None:
    """Goes on in a new file where the log was deleted."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile) and not Path(handler.baseFilename).exists():
            with handler.lock or contextlib.nullcontext():
                if handler.stream is not None:
                    handler.stream.close()
                handler.stream = handler._open()


class LogFile(RotatingFileHandler):
    """Python's makes each line twice and asks the system three times how long the file is: every
    request has its line, and would notice."""

    def _open(self) -> Any:
        stream = super()._open()
        self._size = os.fstat(stream.fileno()).st_size  # bytes
        return stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + self.terminator
            size = len(line.encode())
            if self._size and self._size + size > self.maxBytes:
                self.doRollover()
            # None: it could not be opened the last time.
            self.stream = stream = self.stream or self._open()
            self._size += size
            stream.write(line)
            self.flush()
        except Exception:
            self.handleError(record)


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return encode(entry_of(record))


class Readable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return for_people(entry_of(record))


def entry_of(record: logging.LogRecord) -> Entry:
    """What a record says, made once for all handlers. `extra={"model": …, "request": …}` names
    whom it is about; without, the request that is being answered here."""
    entry: Entry | None = record.__dict__.get("entry")
    if entry is None:
        entry = record.__dict__["entry"] = _made(record)
    return entry


def _made(record: logging.LogRecord) -> Entry:
    message = record.getMessage()
    own = record.__dict__
    here = whose()
    trace = own.get("trace")
    if record.exc_info:
        trace = logging.Formatter().formatException(record.exc_info)
    request = own.get("request", here.request)
    return Entry(
        time=timestamp(record.created),
        level=_level(record.levelno),
        logger=record.name.removeprefix("fastmlx."),
        message=shortened(without_secrets(message)),
        request=request,
        http=here.http if request == here.request else None,
        client=here.client if request == here.request else None,
        model=own.get("model"),
        trace=shortened(without_secrets(trace)) if trace else None,
    )


def _level(number: int) -> str:
    """The worst of the four that `number` reaches."""
    limits = (logging.INFO, logging.WARNING, logging.ERROR)
    return LEVELS[sum(number >= limit for limit in limits)]


def trim(path: Path, limit_bytes: int = SERVICE_BYTES) -> None:
    """Keeps what another program appends to from growing: a copy is left as `.1`, the file is
    emptied. Programs that append (O_APPEND) go on from its start."""
    try:
        if path.stat().st_size > limit_bytes:
            shutil.copy(path, path.with_name(path.name + ".1"))  # with its permissions
            os.truncate(path, 0)
    except OSError:  # it is not there, or the disk is full: it stays as it is
        pass
