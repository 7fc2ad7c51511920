"""The daemon as a process: how it starts, follows its configuration, and stops."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastmlx.config.paths import Home
from fastmlx.daemon.app import EX_CONFIG, StartError, listen, lock, url_of
from live import LiveDaemon

Live = Callable[..., LiveDaemon]


def serve(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A start that is expected to fail."""
    return subprocess.run(
        [sys.executable, "-m", "fastmlx.daemon", "serve", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
    )


# ---- starting


def test_the_first_start_writes_a_config_and_says_where_it_serves(live: Live) -> None:
    daemon = live()
    assert "models:" in daemon.config_file.read_text()
    said = json.loads((daemon.home / "run" / "server.json").read_text())
    assert said.pop("started_at") > 0
    assert said == {"pid": daemon.pid, "url": daemon.url}
    assert daemon.stop() == 0
    assert not (daemon.home / "run" / "server.json").exists()
    assert "stopped" in (daemon.home / "logs" / "fastmlx.log").read_text()


def test_a_port_in_use_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = serve(tmp_path, "--port", str(port))
    assert failed.returncode == 1
    assert f"port {port}" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_a_second_daemon_on_one_home_is_told_of_the_first(daemon: LiveDaemon) -> None:
    failed = serve(daemon.home, "--port", "0")
    assert failed.returncode == 1
    assert f"pid {daemon.pid}" in failed.stderr
    assert daemon.url in failed.stderr
    assert httpx.get(daemon.url + "/health").status_code == 200


def test_a_broken_config_ends_the_start_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("server:\n  prot: 1\n")
    failed = serve(tmp_path)
    assert failed.returncode == EX_CONFIG
    assert "config.yaml:2:3" in failed.stderr
    assert "port" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_a_config_that_is_a_folder_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    failed = serve(tmp_path)
    assert failed.returncode == EX_CONFIG
    assert "is a folder" in failed.stderr


def test_a_home_that_is_a_file_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    failed = serve(tmp_path / "home")
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("localhost", "127")]
)
def test_a_listener_knows_how_it_is_reached(host: str, url: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener).startswith(f"http://{url}")
        assert url_of(listener).endswith(f":{port}")


def test_an_address_that_is_not_ours_cannot_be_opened() -> None:
    for host in ("203.0.113.1", "no-such-host.invalid"):
        with pytest.raises(StartError, match=f"port 6590 on {host}"):
            listen(host, 6590)


def test_the_lock_of_a_home_is_held_once_and_given_back(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with lock(home), pytest.raises(StartError, match="another daemon"), lock(home):
        pass
    with lock(home):
        pass


# ---- following the configuration


def test_edits_take_effect_while_a_stream_goes_on(
    live: Live, tiny_model: Callable[..., Path]
) -> None:
    model = f"  tiny: {{path: {tiny_model('qwen3')}}}\n"
    daemon = live(f"models:\n{model}")
    texts: list[str] = []

    def stream() -> None:
        with daemon.openai() as client:
            for chunk in client.completions.create(
                model="tiny",
                prompt="x",
                max_tokens=800,
                stream=True,
                extra_body={"ignore_eos": True},
            ):
                texts.append(chunk.choices[0].finish_reason or "")

    reader = threading.Thread(target=stream)
    reader.start()
    daemon.wait_until(lambda: texts, what="the stream began")

    daemon.edit_config(f"models:\n{model}  added: {{path: {tiny_model('llama')}}}\n")
    daemon.wait_until(lambda: len(daemon.status()["models"]) == 2, timeout_s=3)

    daemon.edit_config(f"models:\n{model}  added: {{pth: x}}\n")
    daemon.wait_until(lambda: not daemon.status()["config"]["ok"], timeout_s=3)
    error = daemon.status()["config"]["error"]
    assert (error["line"], error["key"]) == (3, "models.added.pth")
    assert len(daemon.status()["models"]) == 2  # what was in force stays
    assert "config.yaml:3" in (daemon.home / "logs" / "fastmlx.log").read_text()

    daemon.edit_config(f"server: {{port: 1}}\nmodels:\n{model}")
    daemon.wait_until(lambda: daemon.status()["config"]["ok"], timeout_s=3)
    assert "server.port" in daemon.status()["config"]["needs_restart"]

    reader.join(30)
    assert texts[-1] == "length"  # the stream went on through all of it


def test_sighup_reads_the_file_again(daemon: LiveDaemon) -> None:
    before = daemon.status()["config"]["loaded_at"]
    os.kill(daemon.pid, signal.SIGHUP)
    daemon.wait_until(lambda: daemon.status()["config"]["loaded_at"] > before, timeout_s=3)


# ---- stopping


def test_a_stop_lets_running_streams_finish(live: Live, tiny_model: Callable[..., Path]) -> None:
    daemon = live(f"models: {{tiny: {{path: {tiny_model('qwen3')}}}}}")
    with daemon.openai() as client:
        stream = client.completions.create(
            model="tiny",
            prompt="x",
            max_tokens=300,
            stream=True,
            extra_body={"ignore_eos": True},
            stream_options={"include_usage": True},
        )
        next(iter(stream))
        daemon.kill(signal.SIGTERM)
        chunks = list(stream)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 300
    assert daemon.stop() == 0


def test_a_second_signal_does_not_wait(live: Live, tiny_model: Callable[..., Path]) -> None:
    config = f"server: {{drain_timeout: 1h}}\nmodels: {{tiny: {{path: {tiny_model('qwen3')}}}}}"
    daemon = live(config)
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
        daemon.kill(signal.SIGTERM)
        # Two signals sent at once may arrive as one.
        log = daemon.home / "logs" / "fastmlx.log"
        daemon.wait_until(lambda: "stopping" in log.read_text(), what="the stop began")
        assert daemon.stop(timeout_s=10) == 0
