"""Errors on the wire, each dialect's in its own shape; OpenAI's is the one of all other paths:

    {"error": {"message": …, "type": …, "param": …, "code": …}}

for everything that goes wrong, Sanic's own 404, 405, 408, 413 and broken HTTP included. No stack
trace leaves the process: an exception that nobody foresaw becomes a 500 with the request's id,
and the log has the rest under the same id.

Source: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from sanic.exceptions import MethodNotAllowed, NotFound, PayloadTooLarge, SanicException
from sanic.http import Http
from sanic.response import HTTPResponse

from ..protocol.errors import FastMLXError, Forbidden, TooLarge, Unauthorized
from .anthropic_errors import anthropic_body, speaks_anthropic
from .ollama_errors import ollama_body, speaks_ollama

if TYPE_CHECKING:
    from sanic import Request, Sanic

log = logging.getLogger(__name__)

# OpenAI's words for the family of an error; 400, 404, 405, 413 … are invalid_request_error.
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
}
LINGER_BYTES = 1024**3  # of a body that is refused: read and dropped


class Problem(NamedTuple):
    """What went wrong, free of any dialect."""

    error: BaseException
    status: int
    message: str
    code: str  # a stable word for programs
    param: str | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 (never changed)


class ErrorReply(msgspec.Struct, frozen=True):
    """An error, ready for the wire."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = {}


Shape = Callable[[Problem, str], dict[str, Any]]  # with the request's id → the JSON body


def reply_to(error: BaseException, request_id: str, shape: Shape | None = None) -> ErrorReply:
    """The reply for any exception; unknown ones are logged here, with their traceback."""
    problem = _problem(error, request_id)
    body = (shape or openai_body)(problem, request_id)
    return ErrorReply(problem.status, body, problem.headers)


def openai_body(problem: Problem, request_id: str) -> dict[str, Any]:
    status = problem.status
    kind = TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    error = {"message": problem.message, "type": kind}
    return {"error": error | {"param": problem.param, "code": problem.code}}


def _problem(error: BaseException, request_id: str) -> Problem:
    if isinstance(error, FastMLXError):
        headers = _retry_after(error.retry_after_s)
        if error.final:
            headers["x-should-retry"] = "false"
        if isinstance(error, Unauthorized):
            headers["www-authenticate"] = "Bearer"
        return Problem(error, error.status, error.message, error.code, error.param, headers)
    if isinstance(error, SanicException) and error.status_code != 500:
        return _from_sanic(error)
    log.error("request %s failed", request_id, exc_info=error)
    message = f"Something went wrong inside fastmlx; the log tells more under {request_id}."
    return Problem(error, 500, message, "internal_error")


def _from_sanic(error: SanicException) -> Problem:
    status = error.status_code
    message = str(error)
    headers = {name: str(value) for name, value in (error.headers or {}).items()}
    if isinstance(error, PayloadTooLarge):
        message = "The request is larger than this server accepts."
        return Problem(error, status, message, TooLarge.code)
    if isinstance(error, NotFound):
        message = f"There is nothing here: {message}"
        return Problem(error, status, message, "not_found", headers=headers)
    if isinstance(error, MethodNotAllowed):
        return Problem(error, status, message, "method_not_allowed", headers=headers)
    message = message or "The request failed."
    return Problem(error, status, message, "invalid_request", headers=headers)


def _retry_after(seconds: float | None) -> dict[str, str]:
    """Whole seconds, rounded up: what HTTP allows."""
    return {} if seconds is None else {"retry-after": str(max(1, math.ceil(seconds)))}


def install(app: Sanic[Any, Any]) -> None:
    """Makes `app` answer every exception in the shape of the dialect that was spoken."""

    async def handle(request: Request, error: Exception) -> HTTPResponse:
        shape = openai_body
        if speaks_anthropic(request.path, request.headers):
            shape = anthropic_body
        elif speaks_ollama(request.path):
            shape = ollama_body
        reply = reply_to(error, str(request.id), shape)
        if isinstance(error, PayloadTooLarge | Unauthorized | Forbidden):
            _read_on(request)
        return HTTPResponse(
            msgspec.json.encode(reply.body),
            status=reply.status,
            headers=reply.headers,
            content_type="application/json",
        )

    app.error_handler.add(Exception, handle)
    app.error_handler.add(asyncio.CancelledError, _nobody_there)


async def _nobody_there(request: Request, error: BaseException) -> HTTPResponse:
    """The client has gone; Sanic wants a response nevertheless."""
    return HTTPResponse(status=499)


def _read_on(request: Request) -> None:
    """Lets Sanic read and drop the rest of a body that is refused, once it has answered.

    Were the connection closed on bytes that nobody read, the kernel would reset it, and a client
    that is still sending would never see the answer.
    """
    stream = request.stream
    if isinstance(stream, Http) and stream.request_body:
        stream.request_max_size = LINGER_BYTES
        stream.protocol.request_max_size = LINGER_BYTES
