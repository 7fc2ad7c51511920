"""The types of single settings: what each accepts, and the sentence that refuses the rest.

Validators that raise ValueError here write messages that continue "models.x.kind: …".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator

from .units import (
    Seconds,
    Size,
    SizeValue,
    format_duration,
    parse_bytes,
    parse_duration,
    parse_size,
)

_NAME = re.compile(r"[^\W_][\w.:@+-]*")
_ADAPTER_NAME = re.compile(r"[^\W_][\w.@+-]*")
_MAX_NAME = 128

# Words that the configuration will accept one day; said apart from mistakes.
_LATER_KINDS = ("vision", "transcription", "speech", "image", "video")
_LATER_CODECS = ("q8", "q4", "k8v4")
_LATER_DRAFTS = ("ngram", "model", "mtp")


def _no_bool(value: Any) -> Any:
    # bool is an int in Python: without this, `port: true` would be port 1.
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _model_name(value: str) -> str:
    if len(value) > _MAX_NAME:
        raise ValueError(f"is a name of more than {_MAX_NAME} characters")
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"'{value}' cannot be a model's name: letters, digits and . : @ + - _ can; "
            "other names, such as organisation/name, can be aliases"
        )
    return value


def _adapter_name(value: str) -> str:
    if len(value) > _MAX_NAME or not _ADAPTER_NAME.fullmatch(value):
        raise ValueError(
            f"'{value[:_MAX_NAME]}' cannot be an adapter's name: letters, digits and . @ + - _ can"
        )
    return value


def _origin(value: str) -> str:
    """As browsers name it: scheme, host and port. Another text would equal no page's."""
    try:
        parts = urlsplit(value)
        is_origin = bool(parts.scheme and parts.hostname) and parts.port != 0
        rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    except ValueError:  # brackets or a port that are none
        is_origin, rest = False, ""
    if value not in ("*", "null") and (not is_origin or rest):
        raise ValueError(
            f"must be '*' or an origin such as https://chat.example.com, not '{value}'"
        )
    return value


def _one_or_many(value: Any) -> Any:
    """A single text is a list of one; None of the lists here holds anything but texts."""
    return [value] if isinstance(value, str) else value


class Choice:
    """One of the words of `available`; those of `later` are refused in words of their own."""

    def __init__(self, available: tuple[str, ...], later: tuple[str, ...]) -> None:
        self.available = available
        self._later = later

    def __call__(self, value: str) -> str:
        if value in self._later:
            raise ValueError(
                f"'{value}' is not available in this version: {' or '.join(self.available)}"
            )
        if value not in self.available:
            raise ValueError(f"must be {' or '.join(self.available)}, not '{value}'")
        return value


def _drain_timeout(seconds: float) -> float:
    # The service managers kill what takes longer; they need a number.
    if seconds > 3600:
        raise ValueError("must be at most 1h")
    return seconds


def _call_timeout(seconds: float) -> float:
    if not 0 < seconds <= 86400:
        raise ValueError("must be more than 0 and at most 24h")
    return seconds


def _receive_timeout(seconds: float) -> float:
    if not 1 <= seconds <= 3600:
        raise ValueError("must be at least 1s and at most 1h")
    return seconds


def _limit(value: Any) -> Size | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        size = parse_size(value)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from error
    if size.is_zero:
        raise ValueError("must be more than 0")
    return size


def _budget(value: Any) -> int | Literal["unlimited"]:
    if value == "unlimited":
        return "unlimited"
    try:
        return parse_bytes(value)
    except ValueError as error:
        raise ValueError(f"{error}, or unlimited") from error


def _max_gap(value: Any) -> float | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise ValueError("must be auto or a duration such as 100ms") from error
    if not 0 < seconds <= 60:
        raise ValueError("must be auto, or more than 0 and at most 1m")
    return seconds


def _hang_timeout(value: Any) -> float | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        seconds = parse_duration(value)
    except ValueError as error:
        raise ValueError("must be auto, never or a duration such as 2m") from error
    if seconds < 1:
        raise ValueError("must be auto, never, or at least 1s")
    return seconds


def _delay(seconds: float) -> float:
    if not 0 < seconds <= 3600:
        raise ValueError("must be more than 0 and at most 1h")
    return seconds


def _written_gap(value: float | Literal["auto"]) -> str:
    return value if isinstance(value, str) else format_duration(value)


def _context(value: Any) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    try:
        tokens = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else 0
    except ValueError:
        tokens = 0
    if tokens < 1:
        raise ValueError("must be auto or a number of tokens such as 32768")
    return tokens


Text = Annotated[str, AfterValidator(_text)]
Whole = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=2**31 - 1)]
Count = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=2**31 - 1)]
Processes = Annotated[int, BeforeValidator(_no_bool), Field(ge=2, le=64)]
Seed = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=2**63 - 1)]
Port = Annotated[int, BeforeValidator(_no_bool), Field(ge=0, le=65535)]
Number = Annotated[float, BeforeValidator(_no_bool)]
OneOrMany = Annotated[tuple[Text, ...], BeforeValidator(_one_or_many)]
Origins = Annotated[
    tuple[Annotated[Text, AfterValidator(_origin)], ...], BeforeValidator(_one_or_many)
]
ModelName = Annotated[str, AfterValidator(_model_name)]
AdapterName = Annotated[str, AfterValidator(_adapter_name)]
ModelKind = Annotated[
    str, AfterValidator(Choice(("auto", "text", "embedding", "reranker"), _LATER_KINDS))
]
Codec = Annotated[str, AfterValidator(Choice(("none",), _LATER_CODECS))]
DraftKind = Annotated[str, AfterValidator(Choice(("auto", "none"), _LATER_DRAFTS))]
Folder = Annotated[Path, PlainSerializer(str)]
TierSize = SizeValue
CallTimeout = Annotated[Seconds, AfterValidator(_call_timeout)]
DrainTimeout = Annotated[Seconds, AfterValidator(_drain_timeout)]
ReceiveTimeout = Annotated[Seconds, AfterValidator(_receive_timeout)]
Limit = Annotated[Size | Literal["auto"], PlainValidator(_limit), PlainSerializer(str)]
Budget = Annotated[
    int | Literal["unlimited"],
    PlainValidator(_budget),
    PlainSerializer(lambda n: n if n == "unlimited" else str(Size(n))),
]
MaxGap = Annotated[float | Literal["auto"], PlainValidator(_max_gap), PlainSerializer(_written_gap)]
HangTimeout = Annotated[
    float | Literal["auto"], PlainValidator(_hang_timeout), PlainSerializer(_written_gap)
]
Delay = Annotated[Seconds, AfterValidator(_delay)]
Attempts = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=100)]
RequestAttempts = Annotated[int, BeforeValidator(_no_bool), Field(ge=2, le=100)]
Context = Annotated[int | Literal["auto"], PlainValidator(_context)]
