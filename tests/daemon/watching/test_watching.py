"""`fastmlx top` and the menu bar: status in, text out; and both as a user starts them."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastmlx.daemon.watching.machine import Machine, look, read_gpu
from fastmlx.daemon.watching.menu import BETWEEN, Action, Item, menu
from fastmlx.daemon.watching.menubar import MenuBar
from fastmlx.daemon.watching.screen import screen
from hypothesis import given
from hypothesis import strategies as st
from live import LiveDaemon

GIB = 1024**3
MACHINE = Machine(50.0, 8 * GIB, 16 * GIB)


def model(name: str, state: str = "stopped", **values: Any) -> dict[str, Any]:
    said = {
        "name": name,
        "state": state,
        "memory_bytes": 0,
        "requests_running": 0,
        "requests_waiting": 0,
        "tokens_per_s": 0.0,
        "output_tokens": 0,
        "idle_s": None,
        "loading": None,
        "error": None,
    }
    return said | values


def status(*models: dict[str, Any], error: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "version": "1",
        "url": "http://127.0.0.1:6590",
        "pid": 7,
        "config": {"error": error},
        "models": list(models),
    }


BUSY = model(
    "busy",
    "ready",
    memory_bytes=3 * GIB,
    requests_running=2,
    requests_waiting=1,
    tokens_per_s=23.4,
    output_tokens=900,
)
LOADING = model("slow", "starting", loading={"stage": "reading weights", "fraction": 0.25})
FAILED = model("bad", "failed", error="bad could not be started:\nmore")


def test_the_screen_shows_models_the_loaded_ones_first():
    lines = screen(status(model("idle"), FAILED, LOADING, BUSY), MACHINE, 120)
    text = "\n".join(lines)
    assert "1 of 4 models loaded   2 requests run, 1 wait   23.4 tokens/s" in text
    assert "50.0 %" in text
    assert "8.0 GiB of 16.0 GiB" in text
    names = [
        line.split()[0] for line in lines if line[:4].strip() in ("idle", "bad", "slow", "busy")
    ]
    assert names == ["busy", "slow", "bad", "idle"]
    assert "reading weig 25%" in text
    assert "bad could not be started:" in text
    assert "GPU" not in text


def test_the_screen_shows_the_requests_that_run():
    common = {"model": "busy", "elapsed_s": 12.4, "position": None, "eta_s": None}
    common |= {"prompt_tokens": 100, "prefilled_tokens": 0, "output_tokens": 0}
    common |= {"tokens_per_s": None}
    requests = [
        common | {"phase": "decode", "output_tokens": 40, "tokens_per_s": 23.45},
        common | {"phase": "prefill", "prefilled_tokens": 25, "eta_s": 3.2},
        common | {"phase": "waiting", "position": 2},
    ]
    lines = screen(status(BUSY) | {"requests": requests}, MACHINE, 120)
    assert [line.split() for line in lines[-4:]] == [
        ["REQUEST", "PROGRESS", "PROMPT", "OUTPUT", "TOKENS/S", "AGE"],
        ["busy", "decode", "100", "40", "23.4", "12", "s"],
        ["busy", "prefill", "25%,", "3", "s", "to", "go", "100", "0", "-", "12", "s"],
        ["busy", "waiting,", "number", "2", "100", "0", "-", "12", "s"],
    ]


def test_the_screen_shows_the_gpu_where_it_is_known():
    lines = screen(status(), MACHINE._replace(gpu=81, gpu_bytes=2 * GIB), 100)
    assert any("GPU" in line and "81.0 %" in line and "2.0 GiB" in line for line in lines)


def test_the_screen_of_no_daemon_and_of_a_broken_config():
    assert screen(None, MACHINE, 80)[0] == "fastmlx: no daemon runs"
    text = "\n".join(screen(status(error={"text": "config.yaml:1: x\ny"}), MACHINE, 80))
    assert "config.yaml is wrong: config.yaml:1: x" in text


@given(st.integers(1, 200), st.lists(st.builds(model, st.text(max_size=60)), max_size=5))
def test_no_line_is_wider_than_the_terminal(width, models):
    assert all(len(line) <= width for line in screen(status(*models), MACHINE, width))


def test_ioreg_is_read():
    printed = (
        '  | "PerformanceStatistics" = {"In use system memory"=1073741824,'
        '"Device Utilization %"=37,"Renderer Utilization %"=36}'
    )
    assert read_gpu(printed) == (37, GIB)
    assert read_gpu("") == (None, None)
    assert look(lambda: printed).gpu == 37


def texts(items: tuple[Item, ...]) -> list[str]:
    return [item.text for item in items]


def test_the_menu_loads_and_unloads():
    shown = menu(status(BUSY, LOADING, FAILED, model("idle")))
    actions = {item.text: item.action for item in shown.items}
    assert actions["● busy  (3.0 GiB)"] == Action("unload", "busy")
    assert actions["◐ slow  (reading weights 25%)"] is None
    assert actions["⚠ bad  (failed)"] == Action("load", "bad")
    assert actions["○ idle"] == Action("load", "idle")
    assert actions["Open dashboard"] == Action("dashboard")
    assert actions["Restart"] == Action("restart")
    assert "2 running, 1 waiting, 23.4 tokens/s" in actions


def test_the_title_says_the_most_important():
    assert menu(None).title == "mlx –"
    assert menu(status(FAILED, BUSY)).title == "mlx ⚠"
    assert menu(status(BUSY)).title == "mlx 23 t/s"
    assert menu(status(BUSY | {"tokens_per_s": 2.34})).title == "mlx 2.3 t/s"
    assert menu(status(LOADING)).title == "mlx ◐"
    assert menu(status(BUSY | {"tokens_per_s": 0})).title == "mlx ●"
    assert menu(status(model("a"))).title == "mlx ○"


def test_without_a_daemon_it_can_be_started_and_problems_are_told():
    assert "Start" in texts(menu(None).items)
    assert "⚠ it broke" in texts(menu(None, "it broke\nat length").items)
    assert any(
        "config.yaml:1" in text
        for text in texts(menu(status(error={"text": "config.yaml:1"})).items)
    )


class Rumps:
    """What is used of rumps, without AppKit."""

    separator = BETWEEN

    class MenuItem:
        def __init__(self, title: str, callback: Callable[[Any], None] | None) -> None:
            self.title, self.callback, self.state = title, callback, 0

    class Timer:
        def __init__(self, tick: Callable[[Any], None], every_s: float) -> None:
            self.tick = tick

        def start(self) -> None:
            self.tick(None)

    class App:
        def __init__(self, name: str, quit_button: None) -> None:
            self.title = name
            self.menu = Rumps.Lines()

        def run(self) -> None:
            pass

    class Lines(list):
        add = list.append

    def quit_application(self) -> None:
        self.has_quit = True


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_menu_bar_draws_what_changed_and_does_what_is_clicked():
    rumps = Rumps()
    posted: list[tuple[str, str]] = []

    def post(name: str, verb: str) -> None:
        posted.append((name, verb))
        if name == "bad":
            raise RuntimeError("no room")

    bar = MenuBar(rumps, lambda: status(model("bad"), model("good")), post)
    bar.run()
    until(lambda: bar._status)
    bar._tick(None)
    lines = bar._app.menu
    for name in ("bad", "good"):
        line = next(each for each in lines if getattr(each, "title", "") == f"○ {name}")
        line.callback(None)
    until(lambda: len(posted) == 2)
    assert set(posted) == {("bad", "load"), ("good", "load")}
    drawn = list(lines)
    bar._problem = None
    bar._tick(None)
    bar._tick(None)
    assert list(lines) == drawn, "an unchanged menu is left alone, it may be open"
    next(each for each in lines if getattr(each, "title", "") == "Quit this menu").callback(None)
    assert rumps.has_quit


def test_top_prints_once_into_a_pipe(live: Callable[..., LiveDaemon], tmp_path: Path):
    daemon = live("models: {demo: {path: 'builtin:demo'}}\n")
    top = [sys.executable, "-m", "fastmlx.daemon", "top", "--home"]
    done = subprocess.run([*top, str(daemon.home)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"{daemon.url}  pid {daemon.pid}" in done.stdout
    assert "demo" in done.stdout
    done = subprocess.run([*top, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "no daemon runs" in done.stdout


def test_top_draws_on_a_terminal_until_q(tmp_path: Path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fastmlx.daemon", "top", "--home", str(tmp_path)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
    )
    os.close(theirs)
    shown = b""
    try:
        deadline = time.monotonic() + 40
        while b"q quits" not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([ours], [], [], 0.2)[0]:
                shown += os.read(ours, 65536)
        assert b"no daemon runs" in shown
        os.write(ours, b"q")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_without_rumps_the_menu_bar_says_how_to_get_it(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "fastmlx.daemon", "menubar", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "fastmlx[menubar]" in done.stderr
