"""A real daemon in a process of its own, on a free port and a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import httpx

if TYPE_CHECKING:
    from anthropic import Anthropic
    from openai import OpenAI

# Clients would read a file of all the world's authorities, each of them, before they say a word to
# this machine: most of the time of a small request.
UNENCRYPTED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _unencrypted(kind: Any) -> Any:
    """A client of a class of the packages; it ends with the last who holds it, as theirs do."""

    class Client(kind):
        def __del__(self) -> None:
            with contextlib.suppress(Exception):
                self.close()

    return Client(verify=UNENCRYPTED)


class LiveDaemon:
    """`python -m fastmlx.daemon serve --home HOME --port 0`, as a user starts it.

    `config` is the text of config.yaml; an empty one lets the daemon write its own. Use it as a
    context manager, or call `start()` and `stop()`; an exception inside the `with` carries the end
    of the log with it.
    """

    def __init__(
        self,
        home: Path,
        config: str = "",
        *,
        environment: dict[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        start_timeout_s: float = 30.0,
    ) -> None:
        self.home = home
        self.config_file = home / "config.yaml"
        self.url = ""  # http://127.0.0.1:PORT once started
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = os.environ | (environment or {})
        self._arguments = arguments
        self._start_timeout_s = start_timeout_s
        self._output: IO[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)
        if config:
            self.edit_config(config)

    # ---- life

    def start(self) -> Self:
        """Starts the process and returns when /health answers. Raises AssertionError with the
        log when it ends or says nothing for `start_timeout_s`."""
        server_json = self.home / "run" / "server.json"
        server_json.unlink(missing_ok=True)
        self._output = (self.home / "console.txt").open("ab")
        command = [sys.executable, "-m", "fastmlx.daemon", "serve", "--home", str(self.home)]
        self.process = subprocess.Popen(
            [*command, "--port", "0", *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,  # a Ctrl-C in pytest's terminal is pytest's
        )
        try:
            self.wait_until(self._answers, self._start_timeout_s, what="/health answers")
        except BaseException:
            self.kill()
            raise
        return self

    def _answers(self) -> bool:
        process = self._running()
        if process.poll() is not None:
            raise AssertionError(f"the daemon ended with {process.returncode}:\n{self.log()}")
        try:
            said = json.loads((self.home / "run" / "server.json").read_text())
            self.url = str(said["url"]).rstrip("/")
            return self._get("/health", 5).status_code == 200
        except (FileNotFoundError, json.JSONDecodeError, httpx.TransportError):
            return False

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, then waits; returns the exit status. SIGKILL and AssertionError when the
        daemon does not end in time. Does nothing to a daemon that has ended."""
        process = self.process
        if process is None:
            return 0
        try:
            if process.poll() is None:
                process.terminate()
            try:
                return process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(
                    f"the daemon did not stop within {timeout_s} s:\n{self.log()}"
                ) from None
        finally:
            self._close()

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal; after SIGKILL also waits for the end."""
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.send_signal(sig)
        if sig == signal.SIGKILL:
            process.wait(10)
            self._close()

    def _close(self) -> None:
        if self._output is not None:
            self._output.close()
            self._output = None

    def _running(self) -> subprocess.Popen[bytes]:
        assert self.process is not None, "not started"
        return self.process

    @property
    def runs(self) -> bool:
        """Whether its process was started and has not ended."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the front."""
        return self._running().pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.stop()
            return
        error.add_note(f"log of the daemon:\n{self.log()}")
        with contextlib.suppress(AssertionError):
            self.stop()

    # ---- talk

    def openai(self, **options: Any) -> OpenAI:
        """A client of OpenAI's package that talks to this daemon and does not retry."""
        from openai import DefaultHttpxClient, OpenAI

        options = {"api_key": "unused", "max_retries": 0, "timeout": 60.0} | options
        options.setdefault("http_client", _unencrypted(DefaultHttpxClient))
        return OpenAI(base_url=self.url + "/v1", **options)

    def anthropic(self, **options: Any) -> Anthropic:
        """A client of Anthropic's package that talks to this daemon and does not retry."""
        from anthropic import Anthropic, DefaultHttpxClient

        options = {"api_key": "unused", "max_retries": 0, "timeout": 60.0} | options
        options.setdefault("http_client", _unencrypted(DefaultHttpxClient))
        return Anthropic(base_url=self.url, **options)

    def http(self, **options: Any) -> httpx.Client:
        """An httpx client with the daemon's address as its base."""
        return httpx.Client(
            **{"base_url": self.url, "timeout": 60.0, "verify": UNENCRYPTED} | options
        )

    def _get(self, path: str, timeout_s: float, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=timeout_s, verify=UNENCRYPTED, **options)

    def status(self) -> dict[str, Any]:
        """GET /api/status, as this user's own commands ask for it."""
        answer = self._get("/api/status", 10, headers=self.token_headers())
        answer.raise_for_status()
        return answer.json()

    def token_headers(self) -> dict[str, str]:
        """What lets the commands of the daemon's own user in, whatever keys there are."""
        token = (self.home / "run" / "local.token").read_text().strip()
        return {"Authorization": f"Bearer {token}"}

    def model(self, name: str) -> dict[str, Any]:
        """The status of one model. Raises KeyError when it is not declared."""
        for model in self.status()["models"]:
            if model["name"] == name:
                return model
        raise KeyError(name)

    def edit_config(self, text: str) -> None:
        """Saves config.yaml the way editors do: a new file renamed over the old one."""
        new = self.config_file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(self.config_file)

    def wait_until(
        self, predicate: Callable[[], object], timeout_s: float = 10.0, what: str = ""
    ) -> None:
        """Polls until `predicate()` is true. AssertionError with the log when time is up."""
        deadline = time.monotonic() + timeout_s
        while not predicate():
            if time.monotonic() > deadline:
                what = what or getattr(predicate, "__name__", "the predicate")
                raise AssertionError(f"not within {timeout_s} s: {what}\n{self.log()}")
            time.sleep(0.02)

    def log(self, last: int = 80) -> str:
        """The last lines of everything that the daemon and its engines wrote."""
        parts = []
        console = self.home / "console.txt"
        for path in [console, *sorted((self.home / "logs").glob("*.log"))]:
            if path.is_file():
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                parts.append("\n".join([f"---- {path.name}", *lines[-last:]]))
        return "\n".join(parts)
