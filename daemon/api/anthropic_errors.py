"""Errors as Anthropic's clients read them:

    {"type": "error", "error": {"type": …, "message": …}, "request_id": …}

Source: https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..protocol.errors import ContextTooLong

if TYPE_CHECKING:
    from .errors import Problem

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def speaks_anthropic(path: str, headers: Mapping[str, str]) -> bool:
    """Whether the client of a request expects this dialect. /v1/models is both dialects'."""
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return True
    models = path == "/v1/models" or path.startswith("/v1/models/")
    return models and "anthropic-version" in headers


def anthropic_body(problem: Problem, request_id: str) -> dict[str, Any]:
    """A `daemon.api.errors.Shape`."""
    status = problem.status
    kind = TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")
    error = {"type": kind, "message": _message(problem)}
    return {"type": "error", "error": error, "request_id": request_id}


def _message(problem: Problem) -> str:
    error = problem.error
    if isinstance(error, ContextTooLong) and error.context is not None:
        # Claude Code reads the two numbers out of exactly these words, and compacts.
        return f"prompt is too long: {error.num_tokens} tokens > {error.context} maximum"
    return problem.message
