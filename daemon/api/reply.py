"""Answers that are one JSON value."""

from __future__ import annotations

from typing import Any

import msgspec
from sanic.response import HTTPResponse


def json_reply(value: Any, headers: dict[str, str] | None = None) -> HTTPResponse:
    """200. Infinity and NaN become null."""
    body = msgspec.json.encode(value)
    return HTTPResponse(body, headers=headers, content_type="application/json")
