"""The verbs that talk to a daemon, against a real one with tiny models."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmlx.daemon.cli import main
from live import LiveDaemon


@pytest.fixture(autouse=True)
def home(daemon: LiveDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    # A service that the user of this machine has installed is none of the tests'.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("FASTMLX_HOME", str(daemon.home))
    return daemon.home


def test_status_shows_the_daemon_and_its_models(daemon, capsys):
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"^daemon +runs at {daemon.url} \(pid {daemon.pid}, up ", shown, re.MULTILINE)
    assert re.search(r"^config +.*config.yaml: good$", shown, re.MULTILINE)
    assert re.search(r"^service +not installed", shown, re.MULTILINE)
    for name in ("tiny", "other"):
        assert re.search(rf"^{name} +(stopped|ready)", shown, re.MULTILINE)


def test_status_as_json_is_the_daemon_s_own_and_the_service(daemon, capsys):
    assert main(["status", "--json"]) == 0
    status = json.loads(capsys.readouterr().out)
    assert status["running"] is True
    assert status["pid"] == daemon.pid
    assert status["url"] == daemon.url
    assert status["config"]["ok"] is True
    assert {model["name"] for model in status["models"]} == {"tiny", "other"}
    assert status["service"]["installed"] is False
    promised = {"name", "state", "pid", "memory_bytes", "requests_running", "requests_waiting"}
    promised |= {"idle_s", "restarts", "error"}
    assert promised <= set(status["models"][0])


def test_load_and_unload_return_when_it_is_done(daemon, capsys):
    assert main(["load", "tiny-alias"]) == 0
    assert re.fullmatch(r"tiny is ready \(.+iB\)\n", capsys.readouterr().out)
    assert daemon.model("tiny")["state"] == "ready"
    assert main(["list", "--json"]) == 0
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert listed["tiny"]["state"] == "ready"
    assert listed["tiny"]["aliases"] == ["tiny-alias", "claude-*"]
    assert Path(listed["tiny"]["path"]).is_dir()
    assert main(["logs", "tiny-alias"]) == 0
    assert main(["unload", "tiny-alias"]) == 0
    assert capsys.readouterr().out.endswith("tiny is stopped\n")
    assert daemon.model("tiny")["pid"] is None


@pytest.mark.parametrize("verb", ["load", "unload", "run"])
@pytest.mark.parametrize("name", ["nobody", "a/b ?%", "tinny"])
def test_an_unknown_model_is_the_daemon_s_own_sentence(verb, name, capsys):
    assert main([verb, name, *(["hello"] if verb == "run" else [])]) == 1
    said = capsys.readouterr().err
    assert said.startswith("fastmlx: ")
    assert name in said
    assert said.count("\n") == 1


def test_logs_shows_what_the_daemon_wrote(daemon, capsys):
    assert main(["logs", "--grep", "serves at"]) == 0
    assert f"serves at {daemon.url}" in capsys.readouterr().out


def test_a_second_daemon_on_the_home_is_refused_and_so_is_a_taken_port(daemon, tmp_path):
    port = daemon.url.rpartition(":")[2]
    for words, reason in (
        (["--port", "0"], f"another daemon runs on {daemon.home}"),
        (["--port", port, "--home", str(tmp_path)], f"port {port}"),
    ):
        command = [sys.executable, "-m", "fastmlx.daemon", "serve", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_status_shows_a_broken_edit(live: Callable[..., LiveDaemon], monkeypatch, capsys):
    broken = live("models: {}\n")
    monkeypatch.setenv("FASTMLX_HOME", str(broken.home))
    broken.edit_config("models: {}\nsever: {}\n")
    broken.wait_until(lambda: not broken.status()["config"]["ok"])
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^config .*WRONG: config.yaml:2:1: sever", shown, re.MULTILINE)
    assert main(["list"]) == 0
    assert "no models" in capsys.readouterr().out
