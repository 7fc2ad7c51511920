"""The body of a POST: bytes → checked values, with errors that name the field at fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from ..protocol.errors import BadRequest
from ..protocol.nesting import is_deeper

T = TypeVar("T")

_decode = msgspec.json.Decoder(dict[str, Any]).decode
MAX_DEPTH = 200  # of brackets; what reads a body, and templates, recurse
# Brackets and commas outside of texts: a value of two bytes takes fifty, and time to be looked at.
MAX_LISTS, MAX_VALUES = 500_000, 5_000_000
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_AT = re.compile(r" - at `\$\.?(?P<where>.*)`$")


def read_json(body: bytes) -> dict[str, Any]:
    """The object that the body holds.

    Raises BadRequest for an empty body, malformed JSON, NaN and numbers out of range, text that is
    not UTF-8, too deep nesting, too many values, and for anything but an object.
    """
    if not body:
        raise BadRequest("The body is empty; a JSON object is expected.")
    if _has_many(body) and _has_many(_TEXT.sub(b"", body)):
        raise BadRequest(
            f"The JSON of the body has more than {MAX_LISTS:,} lists and objects, or "
            f"{MAX_VALUES:,} values."
        )
    try:
        fields = _decode(body)
    except UnicodeDecodeError as error:
        raise BadRequest(f"The body is not UTF-8: {error.reason}.") from None
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        raise BadRequest(f"The body must be a JSON object. {_AT.sub('', str(error))}.") from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"The body is not valid JSON: {error}.") from None
    if is_deeper(body, fields, MAX_DEPTH):
        raise _too_deep()
    return fields


def _has_many(text: bytes) -> bool:
    if len(text) < MAX_LISTS:
        return False
    return text.count(b"{") + text.count(b"[") > MAX_LISTS or text.count(b",") > MAX_VALUES


def _too_deep() -> BadRequest:
    return BadRequest(f"The JSON of the body is nested more than {MAX_DEPTH} levels deep.")


def convert(fields: Mapping[str, Any], shape: type[T]) -> T:
    """`fields` as a `shape` (a msgspec Struct); unknown fields are ignored.

    Raises BadRequest with `param` for a missing field or one of the wrong type.
    """
    try:
        return msgspec.convert(fields, shape)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _AT.search(text)
        param = found["where"] if found else None
        message = _AT.sub("", text).replace("`", "'")
        if missing := re.search(r"missing required field '(\w+)'", message):
            param = f"{param}.{missing[1]}" if param else missing[1]
            message = "this field is required"
        raise BadRequest(f"{param}: {message}." if param else f"{message}.", param=param) from None


def is_null(value: Any) -> bool:
    return value is None


def one_of(*harmless: Any) -> Callable[[Any], bool]:
    """Accepts null, and the values that ask for what happens anyway."""
    return lambda value: (
        value is None or any(type(value) is type(each) and value == each for each in harmless)
    )


def in_full(value: Any) -> bool:
    """Of `stream_options`: whether a stream without padding will do."""
    return not (isinstance(value, dict) and value.get("include_obfuscation") is True)


def refuse(fields: Mapping[str, Any], unsupported: Mapping[str, Callable[[Any], bool]]) -> None:
    """Raises BadRequest for a field that would change the answer and that we do not implement.

    `unsupported` gives for each known field the test of values that ask for nothing special.
    """
    for name in fields.keys() & unsupported.keys():
        if not unsupported[name](fields[name]):
            raise BadRequest(f"{name}: this is not supported by fastmlx yet.", param=name)
