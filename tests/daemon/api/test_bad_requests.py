"""Whatever a client sends: a clear error in the right shape and status, and the daemon goes on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from live import LiveDaemon

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def _goes_on(http: httpx.Client) -> Iterator[None]:
    yield
    assert http.get("/health").json() == {"status": "ok"}


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] == response.headers["request-id"] != ""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in response.text
    return error


def raw(daemon: LiveDaemon, data: bytes) -> bytes:
    """What comes back for these bytes, until the connection is closed."""
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while more := connection.recv(65536):
            received += more
    return received


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'{"model": "tiny", "messages": [], "temperature": NaN}',
        b'{"model": "\xff\xfe"}',
        b'{"a":' * 50_000,
        b"\x00" * 100,
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_a_broken_body_is_a_400(http: httpx.Client, path: str, body: bytes) -> None:
    assert problem(http.post(path, content=body), 400)["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/api/bench", "/api/cache/clear"])
@pytest.mark.parametrize("body", [b"{", b'{"model": "\xff"}', b'{"model":' * 50_000, b"[]"])
def test_so_it_is_at_endpoints_of_our_own(http: httpx.Client, path: str, body: bytes) -> None:
    assert problem(http.post(path, content=body), 400)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/api/usage?days=367", "days"),
        ("/api/usage?days=00000000012345678", "days"),
        (f"/api/hub/search?limit={'9' * 5000}", "limit"),
        ("/api/hub/search?limit=-1", "limit"),
        ("/v1/models?limit=ten", "limit"),
    ],
)
def test_a_number_out_of_range_in_an_address_is_a_400(
    http: httpx.Client, path: str, param: str
) -> None:
    response = http.get(path, headers={"anthropic-version": "2023-06-01"})
    assert response.status_code == 400, response.text
    assert f"{param}: a number from 1 to" in response.text


def test_a_page_without_an_address_may_change_nothing(http: httpx.Client) -> None:
    response = http.post("/api/models/tiny/load", headers={"origin": "http://[::1"})
    assert problem(response, 403)["code"] == "forbidden"


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": "hi"}, 400, "messages"),
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"temperature": "warm"}, 400, "temperature"),
        ({"temperature": 1e300}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"n": 1000}, 400, "n"),
        ({"stop": ["x"] * 10_000}, 400, "stop"),
        ({"logit_bias": {"99999999": 1}}, 400, "logit_bias"),
        ({"stop_token_ids": [-1]}, 400, "stop_token_ids"),
        ({"response_format": {"type": "xml"}}, 400, "response_format.type"),
        ({"top_logprobs": 50, "logprobs": True}, 400, "top_logprobs"),
        ({"model": "nobody"}, 404, "model"),
        ({"model": "n" * 600}, 400, "model"),
        ({"stream": "yes"}, 400, "stream"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_field_is_named(
    http: httpx.Client, fields: dict, status: int, param: str, stream: bool
) -> None:
    body = {"model": "tiny", "messages": HELLO, "stream": stream} | fields
    assert problem(http.post(CHAT, json=body), status)["param"] == param


def test_unknown_paths_and_methods_are_json_too(http: httpx.Client) -> None:
    assert problem(http.get("/v1/nothing"), 404)["code"] == "not_found"
    response = http.put(CHAT)
    assert problem(response, 405)["code"] == "method_not_allowed"
    assert "POST" in response.headers["allow"]


def test_a_huge_body_is_a_413_that_arrives(http: httpx.Client) -> None:
    """Also on a connection on which the body of a refused page was read and dropped."""
    refused = http.post(CHAT, content=b"{}", headers={"origin": "https://evil.example"})
    assert refused.status_code == 403
    body = b'{"model": "' + b"x" * (65 * 1024**2) + b'"}'
    assert problem(http.post(CHAT, content=body), 413)["code"] == "request_too_large"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n{}",
        b"POST /v1/completions HTTP/1.1\r\nHost: [::1]\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
def test_broken_http_gets_an_error_in_our_shape(daemon: LiveDaemon, data: bytes) -> None:
    received = raw(daemon, data)
    if received:  # a client that closes first gets nothing
        head, _, body = received.partition(b"\r\n\r\n")
        assert head.split(b" ")[1] in (b"400", b"413")
        assert json.loads(body)["error"]["code"]


def test_a_foreign_page_is_refused(http: httpx.Client) -> None:
    body = {"model": "tiny", "messages": HELLO, "max_tokens": 1}
    response = http.post(CHAT, json=body, headers={"origin": "https://evil.example"})
    assert problem(response, 403)["type"] == "permission_error"
    assert problem(http.get("/v1/models", headers={"host": "evil.example"}), 403)
    answer = http.get("/v1/models", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert http.post(CHAT, json=body, headers={"origin": str(http.base_url)}).status_code == 200
