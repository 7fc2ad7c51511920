"""The systemd unit in a real session of systemd: what it runs is a small program of ours here; the
daemon itself follows in tests/daemon/test_cli_service.py."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from fastmlx.launchd.program import Program
from fastmlx.launchd.systemd import UserUnit
from user_session import UserSession, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

T = TypeVar("T")

ODD = 'we ird %h $HOME \\ "q" é'
# Says what it was given, then ends cleanly when asked.
PROGRAM = """
import json, os, pathlib, resource, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
facts = {"arguments": sys.argv[1:], "cwd": os.getcwd(), "pid": os.getpid()}
facts["files"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
facts["environment"] = dict(os.environ)
print("hello log", flush=True)
new = pathlib.Path(os.environ["FASTMLX_HOME"], "facts.new")
new.write_text(json.dumps(facts))
new.rename(new.with_name("facts.json"))
signal.pause()
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserSession]:
    with UserSession(tmp_path_factory.mktemp("session")) as session:
        yield session


@pytest.fixture
def unit(session: UserSession) -> Iterator[UserUnit]:
    service = UserUnit(session.units, session)
    yield service
    service.uninstall()


def program(home: Path, *arguments: str, environment: dict[str, str] | None = None) -> Program:
    home.mkdir(exist_ok=True)
    script = home / "program.py"
    script.write_text(PROGRAM)
    return Program(
        arguments=(sys.executable, str(script), *arguments),
        environment={"FASTMLX_HOME": str(home), **(environment or {})},
        home=home,
        output=home / "logs" / "service.log",
        stop_timeout_s=20,
    )


def facts(home: Path, *, other_than: int | None = None) -> dict:
    """What the program said, once it is another process than `other_than`."""

    def said() -> dict | None:
        file = home / "facts.json"
        found = json.loads(file.read_text()) if file.exists() else None
        return found if found and found["pid"] != other_than else None

    return wait_for(said)


def wait_for(find: Callable[[], T | None], timeout_s: float = 20.0) -> T:
    deadline = time.monotonic() + timeout_s
    while (found := find()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_paths_words_and_variables_arrive_as_they_are(unit, tmp_path):
    home = tmp_path / ODD
    assert unit.install(program(home, ODD, environment={"HF_HOME": ODD})) is True
    said = facts(home)
    assert said["arguments"] == [ODD]
    assert said["cwd"] == str(home)
    assert said["environment"]["HF_HOME"] == ODD
    assert said["files"] >= 4096
    assert (home / "logs" / "service.log").read_text() == "hello log\n"
    state = unit.state()
    assert (state.running, state.pid, state.home) == (True, said["pid"], home)


def test_installing_twice_changes_nothing_and_another_program_replaces_it(unit, tmp_path):
    home = tmp_path / "home"
    assert unit.install(program(home)) is True
    pid = facts(home)["pid"]
    assert unit.install(program(home)) is False
    assert unit.state().pid == pid
    assert unit.install(program(home, "new")) is True
    assert facts(home, other_than=pid)["arguments"] == ["new"]


def test_a_crash_starts_it_again_and_a_clean_stop_does_not(unit, tmp_path, session):
    home = tmp_path / "home"
    unit.install(program(home))
    first = facts(home)["pid"]
    session(["kill", "-KILL", str(first)])
    second = facts(home, other_than=first)["pid"]
    session(["kill", "-TERM", str(second)])
    wait_for(lambda: unit.state().pid is None or None)
    time.sleep(0.5)
    state = unit.state()
    assert (state.installed, state.running) == (True, False)
    assert unit.install(program(home)) is True
    assert facts(home, other_than=second)


def test_restart_is_another_process(unit, tmp_path):
    home = tmp_path / "home"
    unit.install(program(home))
    pid = facts(home)["pid"]
    unit.restart()
    assert facts(home, other_than=pid)["pid"] == unit.state().pid


def test_it_is_wanted_at_login_until_it_is_uninstalled(unit, tmp_path, session):
    unit.install(program(tmp_path / "home"))
    enabled = ["systemctl", "--user", "is-enabled", "fastmlx.service"]
    assert session(enabled).output == "enabled"
    assert unit.uninstall() is True
    assert session(enabled).status != 0
    assert unit.state().detail == "not installed"
    assert not list(session.units.rglob("fastmlx*"))
    assert unit.uninstall() is False


@pytest.mark.parametrize("damaged", ["[Service]\nExecStart=nonsense\n", "\0\n[", ""])
def test_a_unit_that_was_damaged_by_hand_can_be_installed_again_or_removed(
    unit, tmp_path, session, damaged
):
    unit.file.parent.mkdir(parents=True, exist_ok=True)
    unit.file.write_text(damaged)
    session(["systemctl", "--user", "daemon-reload"])
    assert unit.state().running is False
    assert unit.install(program(tmp_path / "home")) is True
    assert facts(tmp_path / "home")["pid"] == unit.state().pid
    unit.file.write_text(damaged)
    session(["systemctl", "--user", "daemon-reload"])
    assert unit.uninstall() is True
    assert not unit.file.exists()
    assert unit.state().running is False


def test_a_damaged_unit_that_does_not_run_can_be_removed(unit, session):
    unit.file.parent.mkdir(parents=True, exist_ok=True)
    unit.file.write_text('[Service]\nExecStart=/bin/sleep "1\n')
    assert session(["systemctl", "--user", "start", unit.file.name]).status != 0
    assert unit.uninstall() is True
    assert not unit.file.exists()
    assert unit.uninstall() is False
