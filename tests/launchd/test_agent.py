"""Installing, restarting and removing the LaunchAgent, against launchctl's recorded behaviour."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.config.paths import Home
from fastmlx.launchd.agent import LaunchAgent
from fastmlx.launchd.program import Address, Program
from fastmlx.launchd.runner import CommandFailed, Completed
from fastmlx.launchd.service import NotInstalled
from launchctl import RecordingLaunchctl

TARGET = "gui/501/ai.fastmlx.daemon"


@pytest.fixture
def launchctl() -> RecordingLaunchctl:
    return RecordingLaunchctl()


@pytest.fixture
def slow_launchctl() -> RecordingLaunchctl:
    return RecordingLaunchctl(polls_until_gone=5)


def program(tmp_path: Path, *, drain_s: float = 30) -> Program:
    return Program.of(Home(tmp_path / "home"), {"PATH": "/usr/bin"}, drain_timeout_s=drain_s)


def agent(tmp_path: Path, launchctl: RecordingLaunchctl) -> LaunchAgent:
    return LaunchAgent(tmp_path / "LaunchAgents", 501, launchctl, sleep=lambda _: None)


def test_the_first_install_writes_the_plist_and_bootstraps_it(tmp_path, launchctl):
    service = agent(tmp_path, launchctl)
    assert service.install(program(tmp_path)) is True
    assert launchctl.verbs == ["enable", "bootstrap"]
    assert launchctl.calls[-1] == ["launchctl", "bootstrap", "gui/501", str(service.file)]
    assert launchctl.loaded["EnvironmentVariables"]["FASTMLX_HOME"] == str(tmp_path / "home")
    assert (tmp_path / "home" / "logs").is_dir()
    state = service.state()
    assert (state.installed, state.running, state.pid) == (True, True, 1000)
    assert state.home == tmp_path / "home"
    assert state.detail == "running"


def test_installing_twice_leaves_the_running_daemon_alone(tmp_path, launchctl):
    service = agent(tmp_path, launchctl)
    service.install(program(tmp_path))
    launchctl.calls.clear()
    assert service.install(program(tmp_path)) is False
    assert launchctl.verbs == []
    assert launchctl.pid == 1000


def test_installing_another_program_replaces_the_old_one(tmp_path, slow_launchctl):
    service = agent(tmp_path, slow_launchctl)
    service.install(program(tmp_path))
    assert service.install(program(tmp_path, drain_s=90)) is True
    assert slow_launchctl.verbs == ["enable", "bootstrap", "bootout", "enable", "bootstrap"]
    assert slow_launchctl.loaded["ExitTimeOut"] == 105
    assert slow_launchctl.pid == 1001


def test_installing_starts_a_daemon_that_was_stopped(tmp_path, launchctl):
    service = agent(tmp_path, launchctl)
    service.install(program(tmp_path))
    launchctl.crash_stops_for_good(0)
    assert service.state().detail == "stopped, last exit status 0"
    assert service.install(program(tmp_path)) is True
    assert launchctl.verbs[-1] == "kickstart"
    assert service.state().running


def test_on_demand_it_waits_and_is_left_alone(tmp_path, launchctl):
    service = agent(tmp_path, launchctl)
    home = Home(tmp_path / "home")
    asked = Address("127.0.0.1", 6590)
    made = Program.of(home, {}, drain_timeout_s=30, on_demand=asked)
    assert service.install(made) is True
    assert launchctl.pid is None
    state = service.state()
    assert (state.on_demand, state.running) == (True, False)
    assert state.detail.startswith("waits for a connection")
    launchctl.calls.clear()
    assert service.install(made) is False
    assert launchctl.verbs == []
    assert service.install(program(tmp_path)) is True
    assert launchctl.pid is not None


def test_a_disabled_service_is_enabled_first(tmp_path, launchctl):
    launchctl.disabled = True
    agent(tmp_path, launchctl).install(program(tmp_path))
    assert launchctl.pid == 1000


def test_error_5_of_a_service_that_another_installer_loaded_is_no_failure(tmp_path, launchctl):
    service = agent(tmp_path, launchctl)
    service.install(program(tmp_path))
    launchctl.broken["bootstrap"] = Completed(5, "Bootstrap failed: 5: Input/output error")
    launchctl.hidden_prints = 1
    assert service.install(program(tmp_path)) is True
    assert launchctl.verbs[-1] == "bootstrap"


def test_a_failing_bootstrap_shows_the_command_and_its_output(tmp_path, launchctl):
    launchctl.broken["bootstrap"] = Completed(5, "Bootstrap failed: 5: Input/output error")
    service = agent(tmp_path, launchctl)
    with pytest.raises(CommandFailed) as failed:
        service.install(program(tmp_path))
    assert f"`launchctl bootstrap gui/501 {service.file}` failed with status 5" in str(failed.value)
    assert "Input/output error" in str(failed.value)


def test_without_a_login_at_the_screen_the_error_says_so(tmp_path, launchctl):
    launchctl.logged_in = False
    with pytest.raises(CommandFailed, match="logged in at the screen"):
        agent(tmp_path, launchctl).install(program(tmp_path))
    assert agent(tmp_path, launchctl).state().running is False


def test_uninstall_waits_for_the_end_and_removes_the_plist(tmp_path, slow_launchctl):
    service = agent(tmp_path, slow_launchctl)
    service.install(program(tmp_path))
    assert service.uninstall() is True
    assert slow_launchctl.loaded is None
    assert not service.file.exists()
    assert service.state().detail == "not installed"


def test_uninstalling_what_is_not_there_is_no_error(tmp_path, launchctl):
    assert agent(tmp_path, launchctl).uninstall() is False
    assert launchctl.verbs == []


def test_a_failing_bootout_shows_its_output_and_keeps_the_plist(tmp_path, launchctl):
    service = agent(tmp_path, launchctl)
    service.install(program(tmp_path))
    launchctl.broken["bootout"] = Completed(1, "Operation not permitted")
    with pytest.raises(CommandFailed, match="Operation not permitted"):
        service.uninstall()
    assert service.file.exists()


def test_restart_lets_running_requests_end_before_it_starts_again(tmp_path, slow_launchctl):
    service = agent(tmp_path, slow_launchctl)
    service.install(program(tmp_path))
    slow_launchctl.calls.clear()
    service.restart()
    assert slow_launchctl.verbs == ["kill", "kickstart"]
    assert slow_launchctl.calls[-1] == ["launchctl", "kickstart", TARGET]
    assert slow_launchctl.pid == 1001


def test_restart_kills_a_daemon_that_ignores_sigterm_for_too_long(tmp_path, launchctl):
    service = agent(tmp_path, launchctl)
    service.install(program(tmp_path))
    launchctl.ignores_sigterm = True
    service.restart()
    assert launchctl.calls[-1] == ["launchctl", "kickstart", "-k", TARGET]
    assert launchctl.pid == 1001


def test_restart_loads_an_installed_service_that_is_not_loaded(tmp_path, launchctl):
    service = agent(tmp_path, launchctl)
    service.install(program(tmp_path))
    launchctl.loaded = launchctl.pid = None
    assert service.state().detail == "not loaded"
    service.restart()
    assert launchctl.pid == 1001


def test_restart_without_an_installed_service_says_so(tmp_path, launchctl):
    with pytest.raises(NotInstalled, match="fastmlx install"):
        agent(tmp_path, launchctl).restart()
    assert launchctl.calls == []


def test_a_machine_without_launchctl_has_an_unknown_state(tmp_path):
    def missing(command) -> Completed:
        return Completed(127, "launchctl is not on this machine")

    state = LaunchAgent(tmp_path, 501, missing).state()
    assert state.installed is False
    assert state.detail == "unknown: launchctl is not on this machine"
