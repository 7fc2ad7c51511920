"""What does a daemon cost that does nothing, and how soon does it answer?

Memory and CPU of the front while a browser has the dashboard open (every element that polls is
fetched as often as its `hx-trigger` says), the time from start to the first byte of /health, and
to the first token of the built-in demo model, whose engine is cold. A model that was loaded before
is loaded sooner, unless its files have changed since. What a stopped model's first token costs per
GB of weights is the difference between a larger and a smaller model, both loaded before; their
files are in the page cache. OpenBLAS is not preloaded here: the daemon runs as users run it.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import models
import psutil
from openblas import plain_environment
from report import Report, arguments, median
from servers import free_port

AIMS = {
    "/health after start, s": 1.0,
    "first token of the cold model after start, s": 5.0,
    "front RSS, no engine, dashboard open, MB": 150.0,
    "front CPU, no engine, dashboard open, % of a core": 1.0,
    "front RSS, an idle engine, dashboard open, MB": 150.0,
    "front CPU, an idle engine, dashboard open, % of a core": 1.0,
}
PER_GB = "more s per GB of weights"
SIZES = ("small", "large")  # of bench/models.py
QUICK_SIZES = ("smallest", "small")
DASHBOARD = "/admin/"
MODEL = "demo"  # its name in config.yaml
START_TIMEOUT_S = 60.0


@contextmanager
def daemon(home: Path) -> Iterator[tuple[psutil.Process, int, float]]:
    """A started daemon: (process, port, when it was started); it may not listen yet."""
    port = free_port()
    command = [sys.executable, "-m", "fastmlx.daemon", "serve", "--home", str(home)]
    with (home / "console.txt").open("ab") as console:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=console,
            stderr=console,
            env=plain_environment(),
        )
    try:
        yield psutil.Process(process.pid), port, started
    finally:
        process.terminate()
        process.wait(60)


def first_byte_of_health(port: int, started: float) -> float:
    """Seconds from the start to the first byte of the answer."""
    while True:
        try:
            with socket.create_connection(
                ("127.0.0.1", port), timeout=START_TIMEOUT_S
            ) as connection:
                connection.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                first = connection.recv(16)
                seconds = time.perf_counter() - started
                assert b" 200" in first, first
                return seconds
        except ConnectionRefusedError:
            if time.perf_counter() - started > START_TIMEOUT_S:
                raise
            time.sleep(0.002)


def first_token(port: int, started: float) -> float:
    """Seconds from the start to the first text of a streamed answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello, who are you?"}],
        "stream": True,
        "temperature": 0,
        "max_tokens": 16,
    }
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    seconds = 0.0
    for line in answer:
        if not seconds and re.search(rb'"(content|reasoning|reasoning_content)": ?"[^"]', line):
            seconds = time.perf_counter() - started
    assert seconds, "the answer has no text"
    connection.close()
    return seconds


class Poll(NamedTuple):
    """An element of a page that fetches itself again and again."""

    url: str
    target: str  # its id, which htmx sends along
    every_s: float

    def __str__(self) -> str:
        return f"{self.url} for #{self.target} every {self.every_s:g} s"


class _Polls(HTMLParser):
    """Collects the elements that poll by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Poll] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        every = re.search(r"every (\d+(?:\.\d+)?)(ms|s)", of.get("hx-trigger") or "")
        if every is not None:
            unit_s = 0.001 if every[2] == "ms" else 1.0
            url = of.get("hx-get") or DASHBOARD
            self.found.append(Poll(url, of.get("id") or "", float(every[1]) * unit_s))


def dashboard(port: int, seconds: float, each_second: Callable[[], None]) -> list[Poll]:
    """Opens the dashboard for that long, as a browser does; returns what it polls."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def get(path: str, **headers: str) -> str:
        connection.request("GET", path, headers={"Accept": "text/html", **headers})
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, f"GET {path}: {answer.status}"
        return text

    polls = _Polls()
    polls.feed(get(DASHBOARD))
    due = dict.fromkeys(polls.found, 0.0)
    start = last = time.monotonic()
    while (now := time.monotonic()) - start < seconds:
        for poll, when in due.items():
            if now >= when:
                get(poll.url, **{"HX-Request": "true", "HX-Target": poll.target})
                due[poll] = now + poll.every_s
        if now - last >= 1:
            each_second()
            last = now
        time.sleep(0.02)
    connection.close()
    return polls.found


def idle(home: Path, seconds: float, *, with_engine: bool) -> tuple[float, float, list[Poll]]:
    """Of a daemon with the dashboard open: largest RSS in MB, CPU in percent of a core, and what
    the dashboard polls."""
    with daemon(home) as (process, port, started):
        first_byte_of_health(port, started)
        if with_engine:
            first_token(port, started)
        dashboard(port, min(seconds, 3.0), lambda: None)  # first uses compile templates
        sizes = [process.memory_info().rss]
        before, start = process.cpu_times(), time.monotonic()
        polled = dashboard(port, seconds, lambda: sizes.append(process.memory_info().rss))
        after, elapsed_s = process.cpu_times(), time.monotonic() - start
    busy_s = after.user + after.system - before.user - before.system
    return max(sizes) / 1e6, busy_s / elapsed_s * 100, polled


def starts(home: Path, times: int) -> tuple[float, float]:
    """Seconds from the start of a daemon to the first byte of /health and to the first token of a
    cold model: medians."""
    health: list[float] = []
    token: list[float] = []
    with daemon(home) as (_, port, started):  # not timed: Python compiles our modules once
        first_byte_of_health(port, started)
        first_token(port, started)
    for _ in range(times):
        with daemon(home) as (_, port, started):
            health.append(first_byte_of_health(port, started))
            token.append(first_token(port, started))
    return median(health), median(token)


def stopped(home: Path, folder: Path, times: int, *, changed: bool = False) -> float:
    """Seconds from a request to the first token of a stopped model that was loaded before; its
    weights' files may have `changed` since."""
    configure(home, str(folder))
    taken: list[float] = []
    with daemon(home) as (_, port, started):
        first_byte_of_health(port, started)
        for number in range(times + 1):
            seconds = first_token(port, time.perf_counter())
            unload(port)
            taken += [seconds] if number else []  # never loaded before
            for file in folder.glob("*.safetensors") if changed else ():
                file.touch()
    return median(taken)


def gigabytes(folder: Path) -> float:
    """Of weights."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e9


def configure(home: Path, path: str) -> None:
    (home / "config.yaml").write_text(f"models:\n  {MODEL}:\n    path: {path}\n")


def unload(port: int) -> None:
    """Returns when the engine is gone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    connection.request("POST", f"/api/models/{MODEL}/unload")
    answer = connection.getresponse()
    said = answer.read()
    assert answer.status == 200, said
    while True:
        connection.request("GET", "/api/status")
        if json.loads(connection.getresponse().read())["models"][0]["state"] == "stopped":
            break
        time.sleep(0.02)
    connection.close()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", help="instead of the demo: folder, or a size of bench/models.py")
    parser.add_argument("--starts", type=int, default=5, help="daemons started; medians are shown")
    parser.add_argument("--seconds", type=float, default=30.0, help="of idling")
    options = parser.parse_args()
    times, seconds = (1, 1.0) if options.quick else (options.starts, options.seconds)
    path = str(models.folder_of(options.model)) if options.model else "builtin:demo"
    report = Report(
        f"Starting and idling, model {path} (median of {times} starts; {seconds:g} s of idling)",
        ("what", "measured", "aim", "measured ÷ aim"),
        "as MLX was built",
        options.quick,
    )
    with tempfile.TemporaryDirectory(prefix="fastmlx-bench-") as folder:
        home = Path(folder)
        configure(home, path)
        figures = [*starts(home, times)]
        for with_engine in (False, True):
            rss_mb, cpu_percent, polled = idle(home, seconds, with_engine=with_engine)
            figures += [rss_mb, cpu_percent]
        folders = [models.folder_of(s) for s in (QUICK_SIZES if options.quick else SIZES)]
        again, large = (stopped(home, folder, times) for folder in folders)
        anew = stopped(home, folders[0], times, changed=True)
    report.notes.append(f"The dashboard polls {', '.join(map(str, polled)) or 'nothing'}.")
    for (what, aim), figure in zip(AIMS.items(), figures, strict=True):
        report.add(what, figure, aim, figure / aim)
    small_gb, large_gb = map(gigabytes, folders)
    report.add("first token of a stopped model, s", again, None, None)
    report.add("the same ÷ that of one whose files changed", again / anew, None, None)
    report.add("the same of a larger one, s", large, None, None)
    report.add(PER_GB, (large - again) / (large_gb - small_gb), None, None)
    report.finish(options.json)


if __name__ == "__main__":
    main()
