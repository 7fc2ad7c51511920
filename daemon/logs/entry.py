"""One line of logs/fastmlx.log: a JSON object, and the same for people.

    {"time": "2026-11-21T13:32:52.123Z", "level": "info", "logger": "daemon.tasks.books",
     "message": "…", "request": "chatcmpl-…", "http": "…", "model": "demo", "trace": "Traceback…"}

A line break in a message is escaped by JSON, and in the text for people what follows it is
indented: nothing that a user sends can look like a line of its own.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

LEVELS = ("debug", "info", "warning", "error")
LONGEST = 64 * 1024  # characters of a message or of a trace; more is cut

# Control characters, separators that some programs take for line breaks, and those that turn the
# direction of writing. Line feed and tab are dealt with by their own.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_PLAIN = "\x1b[0m"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What one line says."""

    time: str = ""  # ISO 8601 in UTC; "" in lines that are none of ours
    level: str = "info"  # one of LEVELS
    logger: str = ""
    message: str
    request: str | None = None  # id of the request that it is about
    http: str | None = None  # the same as the header x-request-id has it
    client: str | None = None  # and as the client's header x-client-request-id had it
    model: str | None = None  # whose engine it is about, or said it
    trace: str | None = None  # of an exception


class Wanted(NamedTuple):
    """Which entries somebody wants to see."""

    level: str = "debug"  # this one and what is worse
    request: str | None = None  # any of its ids
    model: str | None = None
    text: str | None = None  # somewhere in the message or the trace; case does not count

    def matches(self, entry: Entry) -> bool:
        if LEVELS.index(entry.level) < LEVELS.index(self.level):
            return False
        names = (entry.request, entry.http, entry.client)
        if self.request is not None and self.request not in names:
            return False
        if self.model is not None and self.model != entry.model:
            return False
        if self.text is None:
            return True
        return self.text.casefold() in f"{entry.message}\n{entry.trace or ''}".casefold()


EVERYTHING = Wanted()


def encode(entry: Entry) -> str:
    """The line, without its line break."""
    said = {key: value for key, value in msgspec.structs.asdict(entry).items() if value is not None}
    try:
        return msgspec.json.encode(said).decode()
    except UnicodeEncodeError:  # bytes that are no text, from a header or a file's name
        whole = {k: v.encode("utf-8", "backslashreplace").decode() for k, v in said.items()}
        return msgspec.json.encode(whole).decode()


def decode(line: str | bytes) -> Entry:
    """Any line; one that is no entry (it is cut, or of an older version) is a message."""
    try:
        entry = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = line if isinstance(line, str) else line.decode(errors="replace")
        return Entry(message=text.rstrip("\r\n"))
    return entry if entry.level in LEVELS else msgspec.structs.replace(entry, level="info")


_decoder = msgspec.json.Decoder(Entry)


def shortened(text: str) -> str:
    cut = len(text) - LONGEST
    return text if cut <= 0 else f"{text[:LONGEST]}… ({cut} more characters)"


def visible(text: str) -> str:
    """On one line or several, with `\\x1b` instead of what a terminal would obey."""
    return _UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def for_people(entry: Entry, *, colours: bool = False) -> str:
    """Local time, level, place, request, message; a trace and further lines are indented."""
    head = [_local(entry.time), f"{entry.level.upper():7}"] if entry.time else []
    if entry.logger:
        head.append(entry.logger.removeprefix("daemon.") + ":")
    head += [f"[{name}]" for name in (entry.model, entry.request or entry.http) if name]
    text = visible(" ".join([*head, entry.message])).replace("\n", "\n    ")
    if entry.trace:
        text += "\n    " + visible(entry.trace).rstrip("\n").replace("\n", "\n    ")
    colour = _COLOURS.get(entry.level) if colours else None
    return f"{colour}{text}{_PLAIN}" if colour else text


def _local(time: str) -> str:
    try:
        moment = datetime.fromisoformat(time)
        return (
            moment.astimezone().strftime("%Y-%m-%d %H:%M:%S.") + f"{moment.microsecond // 1000:03}"
        )
    except (ValueError, OverflowError, OSError):
        return time


def timestamp(seconds: float) -> str:
    """Of Unix time."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
