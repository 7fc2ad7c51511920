"""The servers that benchmarks ask: ours, and others beside it (bench/peers.py)."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import models  # noqa: F401  (puts the tests' modules on the path)
import psutil
from live import LiveDaemon

START_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Running:
    """A server that answers, and how to ask for its model."""

    name: str
    url: str
    model: str
    pid: int

    def rss_bytes(self) -> int:
        """Resident memory of the server and all its child processes; shared pages count twice."""
        return sum(process.memory_info().rss for process in self._processes())

    def cpu_s(self) -> float:
        """CPU seconds that the server and its child processes have used so far."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(each.user + each.system for each in times)

    def _processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]


@contextlib.contextmanager
def fastmlx(
    folder: Path, environment: dict[str, str] | None = None, max_concurrent: int = 32
) -> Iterator[Running]:
    """Our daemon with its defaults, but for `max_concurrent`, and the model of `folder`."""
    entry = f"path: {folder}\n    preload: true\n    max_concurrent: {max_concurrent}"
    config = f"models:\n  bench:\n    {entry}\n"
    with tempfile.TemporaryDirectory(prefix="fastmlx-bench-") as home:
        daemon = LiveDaemon(Path(home), config, environment=environment)
        with daemon:
            daemon.wait_until(lambda: daemon.model("bench")["state"] == "ready", START_TIMEOUT_S)
            yield Running("fastmlx", daemon.url, "bench", daemon.pid)


@contextlib.contextmanager
def other(name: str, command: list[str], port: str, folder: Path) -> Iterator[Running]:
    """Another server, which calls its model by its folder. Raises RuntimeError when it does not
    start."""
    url = f"http://127.0.0.1:{port}"
    with _process(command, f"{url}/v1/models") as process:
        yield Running(name, url, str(folder), process.pid)


@contextlib.contextmanager
def _process(command: list[str], ready_url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server until the block ends. Raises RuntimeError with its output when it ends early
    or does not answer."""
    with tempfile.TemporaryFile() as output:
        # A session of its own, as our daemon has: Linux shares the processors among sessions.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not _answers(ready_url):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    said = output.read().decode(errors="replace")[-4000:]
                    raise RuntimeError(f"{command} did not start:\n{said}")
                time.sleep(0.1)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
