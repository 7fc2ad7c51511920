"""A restart by hand: the same process starts again, and nobody is refused meanwhile."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from live import UNENCRYPTED, LiveDaemon

Live = Callable[..., LiveDaemon]


def said(daemon: LiveDaemon) -> dict:
    return json.loads((daemon.home / "run" / "server.json").read_text())


class Hammer:
    """Connects all the time and asks for /health on each connection."""

    def __init__(self, url: str) -> None:
        self.failures: list[str] = []
        self.answers = 0
        self._url = url
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                answer = httpx.get(self._url + "/health", timeout=60, verify=UNENCRYPTED)
                assert answer.json() == {"status": "ok"}
                self.answers += 1
            except Exception as error:
                self.failures.append(repr(error))
            time.sleep(0.005)

    def __enter__(self) -> Hammer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_nobody_is_refused_and_streams_that_run_end_well(
    live: Live, tiny_model: Callable[..., Path]
) -> None:
    daemon = live(f"models: {{tiny: {{path: {tiny_model('qwen3')}}}}}")
    before, pid = said(daemon), daemon.pid
    with daemon.openai() as client, Hammer(daemon.url) as hammer:
        stream = client.completions.create(
            model="tiny",
            prompt="x",
            max_tokens=200,
            stream=True,
            extra_body={"ignore_eos": True, "seed": 1},
        )
        first = next(iter(stream))
        done = subprocess.run(
            [sys.executable, "-m", "fastmlx.daemon", "restart", "--home", str(daemon.home)],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"runs at {daemon.url} (pid {pid})\n"
        rest = list(stream)
        assert rest[-1].choices[0].finish_reason == "length"
        assert first.choices[0].finish_reason is None
        answered = hammer.answers
        daemon.wait_until(lambda: hammer.answers > answered, 90, "the new daemon answers")
    assert hammer.failures == []
    assert said(daemon)["started_at"] > before["started_at"]
    assert said(daemon)["pid"] == pid
    log = (daemon.home / "logs" / "fastmlx.log").read_text()
    assert log.count("serves at") == 2
    assert "stopping, to start again" in log
    answer = httpx.post(
        f"{daemon.url}/v1/completions",
        json={"model": "tiny", "prompt": "x", "max_tokens": 2},
        timeout=60,
    )
    assert answer.status_code == 200


def test_what_cannot_start_again_is_not_stopped_and_many_requests_restart_once_or_twice(
    live: Live,
) -> None:
    daemon = live("models: {}")  # with --port 0, which a new socket would make another one
    url = daemon.url
    daemon.edit_config("server: {prot: 1}\n")
    done = subprocess.run(
        [sys.executable, "-m", "fastmlx.daemon", "restart", "--home", str(daemon.home)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "nothing was restarted" in done.stderr
    assert "server.prot" in done.stderr
    assert httpx.get(url + "/health", timeout=90).status_code == 200

    daemon.edit_config("models: {}")
    before = said(daemon)
    for _ in range(3):
        daemon.kill(signal.SIGUSR2)
    daemon.wait_until(
        lambda: said(daemon)["started_at"] > before["started_at"] and said(daemon)["pid"],
        90,
        "it started again",
    )
    assert said(daemon)["url"] == url, "the words of the command line hold for the next daemon"
    assert httpx.get(url + "/health", timeout=90).status_code == 200
    assert daemon.stop() == 0


def test_a_stop_during_a_restart_is_a_stop(live: Live, tiny_model: Callable[..., Path]) -> None:
    daemon = live(
        f"server: {{drain_timeout: 1h}}\nmodels: {{tiny: {{path: {tiny_model('qwen3')}}}}}"
    )
    with daemon.openai() as client:
        stream = client.completions.create(
            model="tiny",
            prompt="x",
            max_tokens=4000,
            n=8,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        next(iter(stream))
        log = daemon.home / "logs" / "fastmlx.log"
        daemon.kill(signal.SIGUSR2)
        daemon.wait_until(lambda: "stopping, to start" in log.read_text(), what="the stop began")
        daemon.kill(signal.SIGTERM)
        time.sleep(0.1)  # two equal signals at once may arrive as one
        assert daemon.stop(timeout_s=20) == 0
    assert not (daemon.home / "run" / "server.json").exists()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_the_file_s_new_port_is_opened(tmp_path: Path, free_port: int) -> None:
    """Not with --port, which goes before the file."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.yaml").write_text("server: {port: 0}\nmodels: {}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "fastmlx.daemon", "serve", "--home", str(home)],
        stderr=subprocess.DEVNULL,
    )
    try:
        file = home / "run" / "server.json"
        wait(lambda: file.exists())
        (home / "config.yaml").write_text(f"server: {{port: {free_port}}}\nmodels: {{}}\n")
        process.send_signal(signal.SIGUSR2)
        wait(lambda: str(free_port) in file.read_text() and json.loads(file.read_text())["pid"])
        url = f"http://127.0.0.1:{free_port}/health"
        assert httpx.get(url, timeout=90).status_code == 200
    finally:
        process.terminate()
        assert process.wait(30) == 0


def wait(condition: Callable[[], object], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
