"""Answers that are one JSON value."""

from __future__ import annotations

from typing import Any

import msgspec
from sanic.response import HTTPResponse


def json_reply(
    value: Any, headers: dict[str, str] | None = None, *, status: int = 200
) -> HTTPResponse:
    """Infinity and NaN become null."""
    body = msgspec.json.encode(value)
    return HTTPResponse(body, status, headers=headers, content_type="application/json")
