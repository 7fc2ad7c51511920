"""What befalls the front: kill -9, a stopped process, disks, deleted files, clocks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from integrity import check_cold, check_database
from live import LiveDaemon
from traffic import KINDS, ask

TOKENS = 100


@pytest.fixture(scope="module")
def config(tiny_model: Callable[..., Path]) -> str:
    return f"models:\n  m: {{path: {tiny_model('qwen3')}, max_concurrent: 8}}\n"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, config: str) -> list[str]:
    """What is answered when nothing happens."""
    with LiveDaemon(tmp_path_factory.mktemp("undisturbed"), config) as daemon:
        return answers(daemon)


async def _answers(url: str, tokens: int) -> list[str]:
    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        asking = (
            ask(client, kind, "m", f"{number}: say something long", tokens=tokens, seed=number)
            for number, kind in enumerate(KINDS)
        )
        return await asyncio.gather(*asking)


def answers(daemon: LiveDaemon, tokens: int = TOKENS) -> list[str]:
    return asyncio.run(_answers(daemon.url, tokens))


class Asking(threading.Thread):
    """One request of every kind at the same time, in a thread."""

    def __init__(self, daemon: LiveDaemon, tokens: int = TOKENS) -> None:
        super().__init__()
        self.result: list[str] | None = None
        self.error: Exception | None = None
        self._daemon = daemon
        self._tokens = tokens
        self.start()
        daemon.wait_until(lambda: daemon.model("m")["requests_running"] > 3, 60, "requests run")

    def run(self) -> None:
        try:
            self.result = answers(self._daemon, self._tokens)
        except (httpx.HTTPError, AssertionError) as error:
            self.error = error

    def end(self) -> list[str] | None:
        self.join(120)
        return self.result


def engines(daemon: LiveDaemon) -> list[psutil.Process]:
    return psutil.Process(daemon.pid).children(recursive=True)


def port_of(daemon: LiveDaemon) -> str:
    return daemon.url.rpartition(":")[2]


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# ---- its end


def test_kill_9_leaves_no_engine_and_a_whole_home_and_its_port(
    tmp_path: Path, config: str, undisturbed: list[str]
):
    killed = LiveDaemon(tmp_path, config).start()
    assert answers(killed) == undisturbed
    asking = Asking(killed, 4000)
    left, port = engines(killed), port_of(killed)
    assert left
    killed.kill()
    with socket.create_server(("127.0.0.1", int(port))):
        pass  # free at once, though engines may still be ending
    assert asking.end() is None
    assert asking.error is not None, "a stream that breaks off says so"
    killed.wait_until(lambda: all(map(is_gone, left)), 20, "the engines end with their front")
    assert check_database(tmp_path / "fastmlx.db") >= 0
    check_cold(tmp_path / "cache")
    with LiveDaemon(tmp_path, arguments=("--port", port)) as again:
        assert port_of(again) == port
        assert answers(again) == undisturbed
        assert again.stop() == 0
    assert check_database(tmp_path / "fastmlx.db") >= len(KINDS)
    assert check_cold(tmp_path / "cache") > 0


def test_a_stop_lets_requests_of_every_dialect_end(
    tmp_path: Path, config: str, undisturbed: list[str]
):
    with LiveDaemon(tmp_path, config) as daemon:
        asking = Asking(daemon)
        left = engines(daemon)
        assert daemon.stop(60) == 0
        assert asking.end() == undisturbed
        assert all(map(is_gone, left))
    assert check_database(tmp_path / "fastmlx.db") == len(KINDS)
    check_cold(tmp_path / "cache")


def test_a_front_that_was_stopped_for_a_while_goes_on(
    tmp_path: Path, config: str, undisturbed: list[str]
):
    # The engine's patience would be over thrice.
    config += "recovery: {hang_timeout: 1s}\n"
    with LiveDaemon(tmp_path, config) as daemon:
        asking = Asking(daemon)
        daemon.kill(signal.SIGSTOP)
        time.sleep(4)
        daemon.kill(signal.SIGCONT)
        assert asking.end() == undisturbed
        assert daemon.model("m")["restarts"] == 0


# ---- its disk


@contextlib.contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own; skips the test where we may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as ballast:
        while True:
            ballast.write(b"x" * 65536)


def problem(daemon: LiveDaemon) -> str | None:
    return daemon.status()["store"]["problem"]


def test_with_a_full_disk_requests_are_answered_and_recorded_again_later(
    tmp_path: Path, config: str, undisturbed: list[str]
):
    with mounted(tmp_path / "disk", "24m") as disk, LiveDaemon(disk / "home", config) as daemon:
        assert answers(daemon) == undisturbed
        fill(disk / "ballast")
        assert answers(daemon) == undisturbed
        daemon.wait_until(lambda: answers(daemon, 1) and problem(daemon), 60, "it says so")
        assert "not recorded" in (problem(daemon) or "")
        (disk / "ballast").unlink()
        daemon.wait_until(lambda: problem(daemon) is None, 60, "it records again")
        assert daemon.stop() == 0
        assert check_database(disk / "home" / "fastmlx.db") >= 2 * len(KINDS)
        check_cold(disk / "home" / "cache")


def test_a_home_that_is_read_only_is_refused_in_one_line(tmp_path: Path):
    with mounted(tmp_path / "disk", "1m") as disk:
        (disk / "home").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        serve = [sys.executable, "-m", "fastmlx.daemon", "serve", "--home", str(disk / "home")]
        failed = subprocess.run(serve, capture_output=True, text=True, timeout=60)
        assert failed.returncode == 1
        assert "Read-only file system" in failed.stderr
        assert len(failed.stderr.splitlines()) == 1


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux only")
def test_files_that_may_not_grow_stop_nothing_but_records(
    tmp_path: Path, config: str, undisturbed: list[str]
):
    with LiveDaemon(tmp_path, config) as daemon:
        limits = resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (0, limits[1]))
        assert answers(daemon) == undisturbed
        daemon.wait_until(lambda: answers(daemon, 1) and problem(daemon), 60, "it says so")
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, limits)
        daemon.wait_until(lambda: problem(daemon) is None, 60, "it records again")
        assert answers(daemon) == undisturbed
        assert daemon.stop() == 0
    assert check_database(tmp_path / "fastmlx.db") >= 2 * len(KINDS)


# ---- its files


def test_a_deleted_home_comes_back_and_requests_are_answered(
    tmp_path: Path, config: str, undisturbed: list[str]
):
    with LiveDaemon(tmp_path / "home", config) as daemon:
        asking = Asking(daemon)
        shutil.rmtree(daemon.home)
        assert asking.end() == undisturbed
        found = daemon.home / "run" / "server.json"
        daemon.wait_until(lambda: found.exists() and found.with_name("local.token").exists(), 60)
        said = subprocess.run(
            [sys.executable, "-m", "fastmlx.daemon", "status", "--home", str(daemon.home)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert said.returncode == 0, said.stderr
        assert daemon.status()["config"]["ok"] is False, "config.yaml is not made up"
        assert answers(daemon) == undisturbed, "what was in force stays"
        daemon.wait_until((daemon.home / "fastmlx.db").exists, 60, "requests are recorded")
        daemon.wait_until((daemon.home / "logs" / "fastmlx.log").exists, 60, "there is a log")
        assert daemon.stop() == 0


# ---- its clock

JUMPING = """\
import pathlib, time
_true = time.time
def jumped():
    try:
        return _true() + float(pathlib.Path({file!r}).read_text())
    except (OSError, ValueError):
        return _true()
time.time = jumped
"""


@pytest.mark.parametrize("days", [2, -2])
def test_a_clock_that_jumps_ends_nothing(
    tmp_path: Path, config: str, undisturbed: list[str], days: int
):
    # Wall time names rows and ages of files; whatever waits or runs is timed by another clock.
    config += (
        "defaults: {idle_timeout: 1h, queue_timeout: 1h, request_timeout: 1h}\n"
        "recovery: {hang_timeout: 1h}\n"
    )
    offset = tmp_path / "offset"
    (tmp_path / "sitecustomize.py").write_text(JUMPING.format(file=str(offset)))
    environment = {
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")])
        )
    }
    with LiveDaemon(tmp_path / "home", config, environment=environment) as daemon:
        asking = Asking(daemon)
        engine = daemon.model("m")["pid"]
        offset.write_text(str(days * 86400))
        assert asking.end() == undisturbed
        assert answers(daemon) == undisturbed
        assert abs(daemon.status()["uptime_s"]) > 86400, "the clock did jump"
        assert (daemon.model("m")["pid"], daemon.model("m")["restarts"]) == (engine, 0)
        assert daemon.stop() == 0
    assert check_database(tmp_path / "home" / "fastmlx.db") == 2 * len(KINDS)
    check_cold(tmp_path / "home" / "cache")
