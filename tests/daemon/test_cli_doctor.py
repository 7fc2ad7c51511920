"""`fastmlx doctor` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fastmlx.daemon.cli import main
from live import LiveDaemon


def test_a_home_where_nothing_ran_yet_is_well_also_by_a_real_token(tmp_path: Path, capsys):
    home = tmp_path / "home"
    status = main(["doctor", "--json", "--home", str(home)])
    said = json.loads(capsys.readouterr().out)
    checks = {check["name"]: check for check in said["checks"]}
    assert checks["Generation"]["text"] == "one token of demo, in a daemon started for this"
    faults = [check for check in said["checks"] if check["state"] == "fault"]
    # Another program may have our port on the machine of the test; nothing else may be wrong.
    assert [check["name"] for check in faults] in ([], ["Port"])
    assert (status, said["ok"]) == (1 if faults else 0, not faults)
    assert not home.exists(), "looking changes nothing"


def test_a_daemon_that_runs_is_asked(live: Callable[..., LiveDaemon], capsys):
    daemon = live("models: {demo: {path: 'builtin:demo'}}\n")
    assert main(["doctor", "--home", str(daemon.home)]) == 0
    printed = capsys.readouterr().out
    assert f"ok       Port: the daemon serves at {daemon.url}" in printed
    assert "ok       Generation: one token of demo" in printed
    assert "is whole" in printed


def test_a_fault_is_the_exit_status_and_says_what_to_do(tmp_path: Path, capsys):
    (tmp_path / "config.yaml").write_text("models: {a: {path: /no/such/folder}}\nserver: {x: 1}\n")
    assert main(["doctor", "--quick", "--home", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "fault    Config:" in printed
    assert "→ correct it" in printed
    assert "Generation" not in printed
