"""One shape for everything that goes wrong."""

from __future__ import annotations

import logging

import pytest
from fastmlx.daemon.api.errors import reply_to
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
