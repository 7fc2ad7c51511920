"""One shape for everything that goes wrong."""

from __future__ import annotations

import logging

import msgspec
import pytest
from fastmlx.daemon.api.anthropic_errors import anthropic_body
from fastmlx.daemon.api.errors import reply_to
from fastmlx.daemon.api.ollama_errors import ollama_body, speaks_ollama
from fastmlx.daemon.api.responses_events import Options, ResponseWriter
from fastmlx.daemon.api.responses_fields import read_asked
from fastmlx.daemon.api.responses_object import response_object
from fastmlx.daemon.protocol import errors
from sanic.exceptions import MethodNotAllowed, NotFound, PayloadTooLarge, SanicException

ALL = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.FastMLXError)
]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_of_ours_has_openais_shape(kind: type[errors.FastMLXError]) -> None:
    reply = reply_to(kind("A sentence.", param="model"), "r1")
    assert reply.status == kind.status
    error = reply.body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] == "A sentence."
    assert error["param"] == "model"
    assert error["code"] == kind.code
    assert error["type"].endswith("_error")


def test_official_clients_do_not_try_again_what_would_fail_again() -> None:
    """They look at this header first: https://github.com/openai/openai-python (_should_retry)."""
    told = {kind for kind in ALL if reply_to(kind("A sentence."), "r1").headers}
    assert told == {errors.ModelFailed, errors.EngineDied, errors.TimedOut, errors.Unauthorized}
    assert reply_to(errors.EngineDied("Twice."), "r1").headers == {"x-should-retry": "false"}
    overloaded = reply_to(errors.Overloaded("Later.", retry_after_s=1.5), "r1")
    assert overloaded.headers == {"retry-after": "2"}


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_of_ours_has_anthropics_shape(kind: type[errors.FastMLXError]) -> None:
    reply = reply_to(kind("A sentence.", param="model"), "r1", anthropic_body)
    assert reply.status == kind.status
    assert set(reply.body) == {"type", "error", "request_id"}
    assert (reply.body["type"], reply.body["request_id"]) == ("error", "r1")
    assert reply.body["error"]["message"] == "A sentence."
    assert reply.body["error"]["type"] in {
        400: {"invalid_request_error"},
        401: {"authentication_error"},
        403: {"permission_error"},
        404: {"not_found_error"},
        413: {"request_too_large"},
        429: {"rate_limit_error"},
        500: {"api_error"},
        503: {"overloaded_error"},
        504: {"timeout_error"},
    }.get(reply.status, {"invalid_request_error", "api_error"})


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_of_ours_has_ollamas_shape(kind: type[errors.FastMLXError]) -> None:
    reply = reply_to(kind("A sentence.", param="model"), "r1", ollama_body)
    assert reply.status == kind.status
    assert reply.body == {"error": "A sentence."}


def test_fastmlxs_own_endpoints_under_api_do_not_speak_ollama() -> None:
    assert speaks_ollama("/api/chat")
    assert not any(map(speaks_ollama, ("/api/status", "/api/cache", "/api/models/chat/load")))


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_of_ours_ends_a_stream_of_responses(kind: type[errors.FastMLXError]) -> None:
    asked = read_asked({"model": "m", "input": "x"})
    writer = ResponseWriter(response_object(asked), Options("1", asked.tools, False, None))
    frames = writer.fail(reply_to(kind("A sentence.", param="model"), "r1"))
    events = [msgspec.json.decode(frame.partition(b"data: ")[2]) for frame in frames]
    assert [event["type"] for event in events[-2:]] == ["error", "response.failed"]
    told = {key: events[-2][key] for key in ("code", "message", "param")}
    assert told == {"code": kind.code, "message": "A sentence.", "param": "model"}
    response = events[-1]["response"]
    assert response["status"] == "failed"
    assert response["error"]["message"] == "A sentence."
    assert response["error"]["code"] in {
        *("server_error", "rate_limit_exceeded", "invalid_prompt"),  # OpenAI's words
        "context_length_exceeded",  # by which Codex knows that it must compact
    }


def test_anthropics_clients_read_the_two_numbers_of_a_prompt_that_is_too_long() -> None:
    error = errors.ContextTooLong("Too long.", num_tokens=9000, context=4096)
    reply = reply_to(error, "r1", anthropic_body)
    assert reply.body["error"]["message"] == "prompt is too long: 9000 tokens > 4096 maximum"
    assert reply_to(error, "r1").body["error"]["message"] == "Too long."


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (2.0, "2"), (2.1, "3")])
def test_retry_after_is_whole_seconds(seconds: float, header: str) -> None:
    reply = reply_to(errors.Overloaded("Full.", retry_after_s=seconds), "r1")
    assert reply.headers == {"retry-after": header}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("Requested URL /x not found"), 404, "not_found"),
        (MethodNotAllowed("no", "PUT", ["GET"]), 405, "method_not_allowed"),
        (PayloadTooLarge("big"), 413, "request_too_large"),
        (SanicException("odd", status_code=400), 400, "invalid_request"),
    ],
)
def test_sanics_errors_have_it_too(error: SanicException, status: int, code: str) -> None:
    reply = reply_to(error, "r1")
    assert (reply.status, reply.body["error"]["code"]) == (status, code)


def test_an_unforeseen_error_tells_the_client_nothing_and_the_log_everything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        raise ZeroDivisionError("secret")
    except ZeroDivisionError as error:
        with caplog.at_level(logging.ERROR):
            reply = reply_to(error, "r-42")
    assert reply.status == 500
    assert "secret" not in str(reply.body)
    assert "r-42" in reply.body["error"]["message"]
    assert "r-42" in caplog.text
    assert "ZeroDivisionError: secret" in caplog.text
