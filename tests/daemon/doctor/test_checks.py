"""Each check of `fastmlx doctor` by itself: what it calls well, and what it says to do."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fastmlx.config.paths import Home
from fastmlx.daemon.access.edits import create
from fastmlx.daemon.access.keys import Limits
from fastmlx.daemon.doctor import files, machine, running
from fastmlx.daemon.doctor.finding import Finding
from fastmlx.launchd.service import ServiceState

GIB = 1024**3
METAL = {
    "mlx": "0.32.4",
    "mlx_lm": "0.32.2",
    "metal": True,
    "computes": True,
    "device": {"device_name": "Apple M4"},
}


def bad(finding: Finding, text: str, state: str = "fault") -> None:
    assert finding.state == state, finding
    assert text in f"{finding.text} {finding.remedy}", finding
    assert finding.remedy


def test_python():
    assert machine.python((3, 12, 1), "darwin", "arm64").state == "ok"
    bad(machine.python((3, 10, 4), "linux", "x86_64"), "3.11 or newer")
    bad(machine.python((3, 12, 1), "darwin", "x86_64"), "Rosetta")


def test_mlx():
    found = machine.mlx(METAL, "", "darwin")
    assert (found.state, "Apple M4" in found.text) == ("ok", True)
    bad(machine.mlx(METAL | {"metal": False}, "", "linux"), "CPU", "warning")
    bad(machine.mlx(METAL | {"metal": False}, "", "darwin"), "macOS 14")
    bad(machine.mlx(METAL | {"computes": False}, "", "darwin"), "1 + 1")
    bad(machine.mlx(None, "Traceback\nImportError: no mlx", "darwin"), "ImportError: no mlx")


def test_memory():
    wired = {"max_recommended_working_set_size": str(20 * GIB)}
    assert machine.memory(32 * GIB, 16 * GIB, 18 * GIB, wired, 0).state == "ok"
    bad(machine.memory(32 * GIB, 16 * GIB, 24 * GIB, wired, 0), "sysctl", "warning")
    bad(machine.memory(32 * GIB, 16 * GIB, 40 * GIB, {}, None), "memory.limit")
    bad(machine.memory(32 * GIB, GIB, 18 * GIB, wired, 0), "fastmlx top", "warning")


def test_disk(tmp_path: Path):
    assert machine.disk(tmp_path, 100 * GIB).state == "ok"
    bad(machine.disk(tmp_path, 5 * GIB), "make room", "warning")
    bad(machine.disk(tmp_path, GIB // 2), "fastmlx cache clear")
    bad(machine.disk(tmp_path, None), "no disk")


def test_config_says_the_place_of_the_error(tmp_path: Path):
    home = Home(tmp_path)
    assert files.config(home)[0].state == "ok"
    home.config.write_text("server: {prot: 1}\n")
    bad(files.config(home)[0], "server.prot")
    home.config.write_text("models: {a: {path: ./x}}\ndiscover: [/some/folder, huggingface]\n")
    finding, settings = files.config(home)
    assert finding.text.endswith("1 model declared")
    folders = list(files.folders_of(home, settings))
    assert folders[0] == tmp_path
    assert Path("/some/folder") in folders
    assert any(folder.name == "x" for folder in folders)


def test_folders_that_are_there_are_one_line(tmp_path: Path):
    assert files.folders([tmp_path, tmp_path, Path("/")]) == [
        Finding("Folders", "ok", "2 folders can be read")
    ]
    (found,) = files.folders([tmp_path, tmp_path / "nothing"])
    bad(found, "is not there")
    (found,) = files.folders([tmp_path], may_lack=[tmp_path / "nothing"])
    assert found.text == "1 folder can be read"
    (tmp_path / "file").write_text("")
    (found,) = files.folders([tmp_path / "file"])
    bad(found, "NotADirectoryError")


def test_a_folder_that_hangs_costs_only_its_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(files, "LOOK", "import time; time.sleep(60)")
    begun = time.monotonic()
    found = files.folders([tmp_path, Path("/")], 0.2)
    assert time.monotonic() - begun < 30
    assert len(found) == 2
    for each in found:
        bad(each, "Privacy")


@pytest.mark.parametrize("check", [files.database, lambda path: files.cold_tier(path.parent)])
def test_databases(check, tmp_path: Path):
    path = tmp_path / files.INDEX
    assert "not there yet" in check(path).text
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (a)")
        connection.executemany("insert into t values (?)", [("x" * 500,) for _ in range(200)])
    connection.close()
    assert check(path).state == "ok"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    bad(check(path), "damaged")
    path.write_bytes(b"no database at all" * 300)
    bad(check(path), "damaged")


def test_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        bad(running.port("127.0.0.1", number, None), f"lsof -nP -iTCP:{number}")
        assert running.port("127.0.0.1", number, "http://127.0.0.1:1").state == "ok"
    assert running.port("127.0.0.1", number, None).state == "ok"
    assert running.port("127.0.0.1", 0, None).state == "ok"
    bad(running.port("203.0.113.1", 6590, None), "server.host")


def test_access(tmp_path: Path):
    home = Home(tmp_path)
    assert running.access("127.0.0.1", home).text == "from this machine only; 0 API keys"
    bad(running.access("0.0.0.0", home), "fastmlx keys create NAME")
    create(home, "laptop", Limits())
    assert "1 API key" in running.access("0.0.0.0", home).text
    assert running.access("0.0.0.0", home).state == "ok"
    home.access.write_text("{")
    bad(running.access("127.0.0.1", home), "move it away")


def test_service(tmp_path: Path):
    def state(**changes) -> ServiceState:
        values = {"manager": "launchd", "installed": True, "running": True, "pid": 1}
        values |= {"home": tmp_path, "detail": "running"} | changes
        return ServiceState(**values)

    assert running.service(None, tmp_path).state == "ok"
    assert running.service(state(), tmp_path).state == "ok"
    assert "fastmlx install" in running.service(state(installed=False), tmp_path).text
    bad(running.service(state(home=Path("/other")), tmp_path), "/other", "warning")
    bad(running.service(state(running=False, detail="stopped"), tmp_path), "fastmlx restart")
    asleep = state(running=False, on_demand=True, detail="waits for a connection")
    assert running.service(asleep, tmp_path).state == "ok"


def test_generation():
    def answer(count: int):
        return lambda path, body: {"usage": {"completion_tokens": count}}

    def fails(path, body):
        raise RuntimeError("the engine died")

    ready = [{"name": "a", "state": "ready"}]
    trial = lambda home: answer(1)("", {})  # noqa: E731
    assert running.generation(answer(1), ready, trial).text == "one token of a"
    asleep = [{"name": "large", "state": "stopped"}]
    assert "started for this" in running.generation(answer(2), asleep, trial).text
    bad(running.generation(answer(2), ready, trial), "2 tokens")
    bad(running.generation(fails, ready, trial), "the engine died")


def test_what_a_program_says():
    python = [sys.executable, "-c"]
    assert running.said_by([*python, "print('{\"a\": 1}')"], 30) == ({"a": 1}, "")
    said, problem = running.said_by([*python, "import nothing_there"], 30)
    assert said is None
    assert "nothing_there" in problem
    assert running.said_by([*python, "import time; time.sleep(60)"], 0.2)[0] is None
    assert running.said_by(["/no/such/program"], 5)[0] is None


def test_the_engine_says_what_it_computes_with():
    said, problem = running.said_by([sys.executable, "-m", "fastmlx.daemon.engine.about"], 120)
    assert said is not None, problem
    assert said["computes"] is True


def test_the_child_that_looks_reads_one_entry(tmp_path: Path):
    done = subprocess.run([sys.executable, "-I", "-c", files.LOOK, str(tmp_path)], timeout=30)
    assert done.returncode == 0
