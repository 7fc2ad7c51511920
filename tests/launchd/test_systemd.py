"""The systemd unit: its text, judged by systemd itself, and the calls where no systemd runs."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fastmlx.config.paths import Home
from fastmlx.launchd.program import Address, Program
from fastmlx.launchd.runner import CommandFailed, Completed, run
from fastmlx.launchd.service import NotInstalled
from fastmlx.launchd.systemd import SOCKET, UNIT, UserUnit, quoted, socket_unit, unit
from hypothesis import given
from hypothesis import strategies as st

ODD = 'we ird %h $HOME "q" é'


def program(tmp_path: Path, *, name: str = "home", drain_s: float = 30) -> Program:
    environ = {"PATH": "/usr/bin:/bin", "HF_HOME": '/data/50% "hub"'}
    return Program.of(Home(tmp_path / name), environ, drain_timeout_s=drain_s)


@pytest.mark.skipif(
    # .ci/run installs it: there it must not be left out.
    shutil.which("systemd-analyze") is None and (sys.platform != "linux" or "CI" not in os.environ),
    reason="systemd-analyze is not installed (Debian: systemd)",
)
@pytest.mark.parametrize("name", ["home", ODD])
@pytest.mark.parametrize("drain_s", [30, math.inf])
@pytest.mark.parametrize("on_demand", [None, Address("::1", 6590)])
def test_systemd_finds_no_fault_in_the_unit(tmp_path, name, drain_s, on_demand):
    file = tmp_path / UNIT
    made = program(tmp_path, name=name, drain_s=drain_s)
    if on_demand is not None:
        made = replace(made, on_demand=on_demand)
        (tmp_path / SOCKET).write_text(socket_unit(on_demand))
    made.home.mkdir()
    file.write_text(unit(made))
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    checked = subprocess.run(
        ["systemd-analyze", "--user", "verify", *map(str, sorted(tmp_path.glob("fastmlx.*")))],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert UNIT not in checked.stderr, checked.stderr


def test_it_starts_at_login_and_after_a_crash_and_drains(tmp_path):
    lines = unit(program(tmp_path)).splitlines()
    assert "WantedBy=default.target" in lines
    assert "Restart=on-failure" in lines
    assert "TimeoutStopSec=45" in lines
    assert "KillMode=mixed" in lines
    assert any(line.startswith("LimitNOFILE=") for line in lines)
    assert f"WorkingDirectory={tmp_path}/home" in lines


def test_words_are_quoted_for_systemd():
    assert quoted('a b"c') == '"a b\\"c"'
    assert quoted("50%h") == '"50%%h"'
    assert quoted("$HOME") == '"$HOME"'
    assert quoted("$HOME", variables=True) == '"$$HOME"'


@given(st.text(st.characters(exclude_categories=["C", "Z"])))
def test_quoting_can_be_undone(text):
    """By the rules of systemd.syntax(7): in double quotes backslash escapes, then specifiers."""
    inner = quoted(text)[1:-1]
    undone, position = "", 0
    while position < len(inner):
        if inner[position] == "\\":
            position += 1
        else:
            assert inner[position] != '"'
        undone += inner[position]
        position += 1
    assert undone.replace("%%", "%") == text


class NoSystemd:
    """systemctl on a machine that was not booted with systemd."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> Completed:
        self.calls.append(list(command))
        return Completed(1, "Failed to connect to bus: No medium found")


def test_without_a_session_of_systemd_the_error_says_what_to_do(tmp_path):
    service = UserUnit(tmp_path / "units", NoSystemd())
    with pytest.raises(CommandFailed) as failed:
        service.install(program(tmp_path))
    assert "`systemctl --user --no-pager daemon-reload` failed with status 1" in str(failed.value)
    assert "Failed to connect to bus" in str(failed.value)
    assert "loginctl enable-linger" in str(failed.value)


def test_without_a_session_of_systemd_the_state_is_still_an_answer(tmp_path):
    state = UserUnit(tmp_path / "units", NoSystemd()).state()
    assert state.running is False
    assert state.installed is False
    assert state.detail == "unknown: Failed to connect to bus: No medium found"


def test_restart_without_an_installed_unit_says_so(tmp_path):
    runner = NoSystemd()
    with pytest.raises(NotInstalled, match="fastmlx install"):
        UserUnit(tmp_path, runner).restart()
    assert runner.calls == []


def test_the_real_runner_joins_output_and_errors():
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"]) == Completed(3, "out\nerr")


def test_the_real_runner_says_which_program_is_missing():
    assert run(["no-such-program-xyz"]) == Completed(
        127, "no-such-program-xyz is not on this machine"
    )
