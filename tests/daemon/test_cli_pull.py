"""`fastmlx pull` in a terminal: Ctrl-C stops it, and the next one goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hub import Fault, environment, small_hub
from live import LiveDaemon

WEIGHTS = "model.safetensors"


@pytest.mark.parametrize("with_daemon", [True, False])
def test_ctrl_c_keeps_what_is_here_for_the_next_pull(tmp_path: Path, with_daemon: bool) -> None:
    with small_hub(tmp_path / "source") as hub:
        told = environment(hub.url, tmp_path / "cache")
        go_on = threading.Event()
        hub.fail(WEIGHTS, Fault(after=100_000, until=go_on))
        command = [sys.executable, "-m", "fastmlx.daemon", "pull", "org/model"]
        environ = os.environ | told | {"FASTMLX_HOME": str(tmp_path / "home")}
        daemon = LiveDaemon(tmp_path / "home", "models: {}\n", environment=told)
        if with_daemon:
            daemon.start()
        try:
            # Who runs the tests in the background ignores Ctrl-C, and so would all their children.
            pulling = subprocess.Popen(
                command,
                env=environ,
                stderr=subprocess.DEVNULL,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

            def begun() -> bool:
                assert pulling.poll() is None
                found = list((tmp_path / "cache").rglob("*.partial"))
                return any(path.stat().st_size >= 100_000 for path in found)

            daemon.wait_until(begun, 60)
            pulling.send_signal(signal.SIGINT)
            assert pulling.wait(60) == 130
            go_on.set()
            if with_daemon:
                with daemon.http() as http:
                    (download,) = http.get("/api/downloads").json()["downloads"]
                    assert download["state"] == "paused"
            done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=90)
            assert done.returncode == 0, done.stderr
            weights = Path(done.stdout.strip()) / WEIGHTS
            assert weights.read_bytes() == hub.models["org/model"][WEIGHTS]
            again = [each.range for each in hub.asked if each.name == WEIGHTS][-1]
            assert again is not None
            assert int(again[6:-1]) >= 100_000
        finally:
            daemon.stop()
