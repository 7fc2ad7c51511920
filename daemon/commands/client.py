"""Talking to the daemon that runs on a home, with the standard library alone.

Not urllib: it would send what is said to 127.0.0.1 through a proxy that the environment names.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
from collections.abc import Generator, Iterator
from typing import Any, Self
from urllib.parse import quote, urlsplit

from ...config.paths import Home
from .failure import Failure

CONNECT_S = 10.0  # for answers that take no time
START_S = 60.0  # Python's and the libraries' first start on a cold disk takes seconds
# A big model is read from disk for minutes, and a request may wait for others before.
PATIENCE_S = 3600.0


class NotRunning(Failure):
    """No daemon answers on this home."""

    def __init__(self, home: Home) -> None:
        super().__init__(
            f"no daemon runs on {home.root}; `fastmlx serve` starts one, "
            "`fastmlx install` does at every login"
        )


class Daemon:
    """The front at `url`. Each call is a connection of its own; errors are `Failure`s with the
    daemon's own message."""

    def __init__(self, url: str, pid: int | None) -> None:
        """Raises ValueError when `url` names no host."""
        place = urlsplit(url)
        if place.hostname is None:
            raise ValueError(f"{url!r} is not the address of a daemon")
        self._address = (place.hostname, place.port)
        self.url = url
        self.pid = pid  # of the front
        self.token: str | None = None  # this user's, which may do all; see access.Access
        self.started_at = 0.0  # Unix time

    @classmethod
    def find(cls, home: Home, *, wake: bool = True) -> Self:
        """The daemon that run/server.json names, once it has answered /health. One that starts when
        somebody connects is started, unless `wake` is false.

        Raises NotRunning: also when that file is left over from a daemon that was killed.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, Failure):
            said = json.loads(home.server_json.read_text("utf-8"))
            asleep = said["pid"] is None
            found = cls(str(said["url"]).rstrip("/"), said["pid"])
            if asleep and not wake:
                raise NotRunning(home)
            timeout_s = START_S if asleep else CONNECT_S
            if found._ask("GET", "/health", None, timeout_s) == {"status": "ok"}:
                if asleep:  # now it has told its pid
                    said = json.loads(home.server_json.read_text("utf-8"))
                found.pid, found.started_at = said["pid"], said.get("started_at", 0.0)
                found.token = home.local_token.read_text("ascii").strip()
                return found
        raise NotRunning(home)

    def get(self, path: str) -> Any:
        return self._ask("GET", path, None, CONNECT_S)

    def post(self, path: str, body: Any = None) -> Any:
        return self._ask("POST", path, body, PATIENCE_S)

    def stream(self, path: str, body: Any) -> Generator[dict[str, Any]]:
        """The objects of a stream of server-sent events. Closing the iterator hangs up, which
        ends the request. Raises Failure also for an error inside the stream."""
        with self._connected(PATIENCE_S) as connection:
            response = self._sent(connection, "POST", path, body)
            if response.status >= 400:
                raise Failure(_message(response.status, response.read()))
            # One event is one `data:` line here; the daemon writes no others but comments.
            while line := response.readline():
                field, _, value = line.partition(b":")
                if field != b"data":
                    continue
                if value.strip() == b"[DONE]":
                    return
                event = json.loads(value)
                if "error" in event:
                    raise Failure(event["error"]["message"])
                yield event
        raise Failure("the daemon hung up in the middle of its answer")

    def _ask(self, method: str, path: str, body: Any, timeout_s: float) -> Any:
        with self._connected(timeout_s) as connection:
            response = self._sent(connection, method, path, body)
            content = response.read()
        if response.status >= 400:
            raise Failure(_message(response.status, content))
        return json.loads(content)

    def _sent(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Any
    ) -> http.client.HTTPResponse:
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        connection.request(method, path, content, headers)
        return connection.getresponse()

    @contextlib.contextmanager
    def _connected(self, timeout_s: float) -> Iterator[http.client.HTTPConnection]:
        with contextlib.closing(
            http.client.HTTPConnection(*self._address, timeout=timeout_s)
        ) as connection:
            try:
                yield connection
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise Failure(f"the daemon at {self.url} does not answer: {reason}") from error


def daemon_of(args: argparse.Namespace) -> Daemon:
    """The daemon on the home that was asked for. Raises NotRunning."""
    return Daemon.find(Home.find(args.home))


def model_path(name: str, verb: str) -> str:
    """The address under which a model is loaded or unloaded."""
    return f"/api/models/{quote(name)}/{verb}"


def _message(status: int, content: bytes) -> str:
    """The daemon's sentence, from an error in OpenAI's shape."""
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the daemon answered with HTTP status {status}"
