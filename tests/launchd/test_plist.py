"""What launchd is told, read back by Python's plistlib and by libplist."""

from __future__ import annotations

import math
import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fastmlx.config.paths import Home
from fastmlx.launchd.plist import LABEL, agent
from fastmlx.launchd.program import Address, Program

ENVIRON = {
    "PATH": "/opt/homebrew/bin:/usr/bin",
    "HF_HOME": "/Volumes/big & slow/<hf>",
    "HF_TOKEN": "hf_secret",
    "FASTMLX_SERVER__PORT": "7000",
    "LANG": "de_DE.UTF-8",
}


def made(tmp_path: Path, drain_s: float = 30) -> dict:
    home = Home(tmp_path / "dot fastmlx")
    return plistlib.loads(plistlib.dumps(agent(Program.of(home, ENVIRON, drain_timeout_s=drain_s))))


def test_it_runs_this_python_with_the_module_form(tmp_path):
    arguments = made(tmp_path)["ProgramArguments"]
    assert arguments == [sys.executable, "-m", "fastmlx.daemon", "serve"]


def test_it_starts_at_login_and_after_a_crash_but_not_after_a_clean_stop(tmp_path):
    plist = made(tmp_path)
    assert plist["Label"] == LABEL
    assert plist["RunAtLoad"] is True
    assert plist["KeepAlive"] == {"SuccessfulExit": False}
    assert plist["ThrottleInterval"] >= 1


@pytest.mark.parametrize(
    ("host", "node", "family"),
    [("localhost", "127.0.0.1", "IPv4"), ("0.0.0.0", "0.0.0.0", "IPv4"), ("::1", "::1", "IPv6")],
)
def test_on_demand_launchd_listens_and_nothing_runs(tmp_path, host, node, family):
    home = Home(tmp_path)
    program = Program.of(home, ENVIRON, drain_timeout_s=1, on_demand=Address(host, 6590))
    plist = plistlib.loads(plistlib.dumps(agent(program)))
    assert plist["RunAtLoad"] is False
    assert "KeepAlive" not in plist, "it would start it at once"
    assert plist["Sockets"] == {
        "Listener": {
            "SockNodeName": node,
            "SockServiceName": "6590",
            "SockType": "stream",
            "SockFamily": family,
        }
    }


def test_on_demand_needs_a_port(tmp_path):
    with pytest.raises(ValueError, match="port is 0"):
        Program.of(Home(tmp_path), {}, drain_timeout_s=1, on_demand=Address("127.0.0.1", 0))


def test_it_is_interactive_and_may_open_many_files(tmp_path):
    plist = made(tmp_path)
    assert plist["ProcessType"] == "Interactive"
    assert plist["SoftResourceLimits"]["NumberOfFiles"] >= 4096
    assert plist["HardResourceLimits"] == plist["SoftResourceLimits"]


@pytest.mark.parametrize("drain_s", [0, 0.5, 30, 600])
def test_it_is_killed_only_after_the_drain_time(tmp_path, drain_s):
    assert made(tmp_path, drain_s)["ExitTimeOut"] > drain_s


def test_a_daemon_that_drains_for_ever_is_never_killed(tmp_path):
    assert made(tmp_path, math.inf)["ExitTimeOut"] == 0


def test_its_output_goes_into_the_logs_of_its_home(tmp_path):
    plist = made(tmp_path)
    assert Path(plist["StandardErrorPath"]).parent == tmp_path / "dot fastmlx" / "logs"
    assert plist["StandardOutPath"] == plist["StandardErrorPath"]
    assert plist["WorkingDirectory"] == str(tmp_path / "dot fastmlx")


def test_it_carries_what_the_daemon_needs_and_no_secret(tmp_path):
    assert made(tmp_path)["EnvironmentVariables"] == {
        "PATH": ENVIRON["PATH"],
        "HF_HOME": ENVIRON["HF_HOME"],
        "FASTMLX_SERVER__PORT": "7000",
        "FASTMLX_HOME": str(tmp_path / "dot fastmlx"),
        "FASTMLX_SERVICE": "1",
    }


def test_a_line_break_in_a_path_is_refused(tmp_path):
    with pytest.raises(ValueError, match="control characters"):
        Program.of(Home(tmp_path / "a\nb"), {}, drain_timeout_s=1)


@pytest.mark.skipif(
    # .ci/run installs it: there it must not be left out.
    shutil.which("plistutil") is None and (sys.platform == "darwin" or "CI" not in os.environ),
    reason="plistutil is not installed (Debian: libplist-utils)",
)
def test_libplist_reads_it_too(tmp_path):
    file = tmp_path / "agent.plist"
    content = made(tmp_path)
    file.write_bytes(plistlib.dumps(content))
    binary = tmp_path / "agent.bplist"
    subprocess.run(
        ["plistutil", "-i", str(file), "-o", str(binary), "-f", "bin"], check=True, timeout=20
    )
    assert binary.read_bytes().startswith(b"bplist00")
    assert plistlib.loads(binary.read_bytes()) == content


@pytest.mark.skipif(sys.platform != "darwin", reason="plutil is a program of macOS")
def test_plutil_accepts_it(tmp_path):
    file = tmp_path / "agent.plist"
    file.write_bytes(plistlib.dumps(made(tmp_path)))
    subprocess.run(["plutil", "-lint", str(file)], check=True, timeout=20)
