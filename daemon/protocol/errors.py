"""The errors that a client may see.

Every dialect renders the same few classes in its own shape (`daemon.api.errors`), so the code that
finds a problem says only what it is.
"""

from __future__ import annotations

from typing import ClassVar


class FastMLXError(Exception):
    """Base of all errors with a message made for the user.

    `message` is one or two plain sentences; `param` names the request field at fault
    (OpenAI's `error.param`), `code` is a stable word for programs. After a `final` one the same
    request would fail again: OpenAI's and Anthropic's clients, which send what failed on our side
    twice more, are told not to.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    final: ClassVar[bool] = False

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class BadRequest(FastMLXError):
    """The request cannot be understood or asks for something that we cannot do."""

    status = 400
    code = "invalid_request"


class ContextTooLong(BadRequest):
    """The prompt does not fit the model's context: `num_tokens` against `context`, in tokens."""

    code = "context_length_exceeded"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        num_tokens: int | None = None,
        context: int | None = None,
    ) -> None:
        super().__init__(message, param=param)
        self.num_tokens = num_tokens
        self.context = context


class Unauthorized(FastMLXError):
    """No API key, or one that is not known (any more)."""

    status = 401
    code = "invalid_api_key"


class Forbidden(FastMLXError):
    """A wrong Host or Origin, or a key without the right."""

    status = 403
    code = "forbidden"


class ModelForbidden(Forbidden):
    """The key's list of models leaves this one out."""

    code = "model_not_allowed"


class BudgetSpent(FastMLXError):
    """The API key has had what it may have in a day."""

    status = 429
    code = "budget_exceeded"


class TooManyAttempts(FastMLXError):
    """Too many wrong passwords."""

    status = 429
    code = "too_many_attempts"


class KeyNotFound(FastMLXError):
    status = 404
    code = "key_not_found"


class ModelNotFound(FastMLXError):
    status = 404
    code = "model_not_found"


class ResponseNotFound(FastMLXError):
    """Nothing is kept under this id (any more)."""

    status = 404
    code = "response_not_found"


class CompletionNotFound(FastMLXError):
    """No chat completion is kept under this id (any more)."""

    status = 404
    code = "completion_not_found"


class PreviousResponseNotFound(BadRequest):
    """The response to go on from is not kept (any more)."""

    code = "previous_response_not_found"


class Conflict(FastMLXError):
    """Another request is at work on the same thing."""

    status = 409
    code = "conflict"


class RequestCancelled(FastMLXError):
    """Somebody ended the request on the dashboard. 499: clients do not try again by themselves."""

    status = 499
    code = "cancelled"


class TooLarge(FastMLXError):
    """The body exceeds `server.max_request_size`."""

    status = 413
    code = "request_too_large"


class Overloaded(FastMLXError):
    """The waiting queue is full, or no memory can be freed; try again later."""

    status = 503
    code = "overloaded"


class ModelFailed(FastMLXError):
    """The model cannot be started: broken files, an unknown architecture, repeated deaths."""

    status = 503
    code = "model_failed"
    final = True


class DownloadNotFound(FastMLXError):
    """There is no download of this id (any more)."""

    status = 404
    code = "download_not_found"


class DownloadFailed(FastMLXError):
    """The Hub cannot be reached, or what it sent cannot be used."""

    status = 502
    code = "download_failed"


class DiskFull(FastMLXError):
    """There is no room for a download."""

    status = 507
    code = "disk_full"


class EngineDied(FastMLXError):
    """The engine process ended while this request ran, twice: it is not tried a third time."""

    status = 500
    code = "engine_died"
    final = True


class TimedOut(FastMLXError):
    """The request took longer than the configuration allows."""

    status = 504
    code = "timeout"
    final = True


class ToolNotFound(FastMLXError):
    """No connected MCP server has such a tool, or there is no such server."""

    status = 404
    code = "tool_not_found"


class ToolUnavailable(FastMLXError):
    """The MCP server of a tool is not connected."""

    status = 503
    code = "mcp_server_unavailable"


class ToolTimeout(FastMLXError):
    """A tool of an MCP server gave no answer in time."""

    status = 504
    code = "tool_timeout"


class ToolFailed(FastMLXError):
    """An MCP server answered a call with an error, or went away during it."""

    status = 502
    code = "tool_failed"
