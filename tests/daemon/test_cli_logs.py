"""`fastmlx logs`: the end of a file, and following it through rotations."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastmlx.daemon.cli import main
from fastmlx.daemon.logs import read
from fastmlx.daemon.logs.entry import Entry, encode
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "fastmlx.log"


@pytest.fixture
def follower(tmp_path: Path, log: Path) -> Iterator[Callable[..., Callable[[str], None]]]:
    """Starts `fastmlx logs -f` and returns what waits for a text in all that it printed."""
    output = tmp_path / "output"
    started: list[subprocess.Popen] = []

    def start(*words: str) -> Callable[[str], None]:
        with output.open("wb") as file:
            command = [sys.executable, "-m", "fastmlx.daemon", "logs", "-f", *words]
            started.append(subprocess.Popen([*command, "--home", str(tmp_path)], stdout=file))

        def wait_for(text: str) -> None:
            deadline = time.monotonic() + 20
            while output.read_text() != text:
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.02)

        return wait_for

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def test_logs_shows_the_last_lines(log, tmp_path, capsys):
    log.write_text("".join(f"line {number}\n" for number in range(500)))
    assert main(["logs", "-n", "2", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "line 498\nline 499\n"
    assert main(["logs", "--home", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 100


def test_escape_sequences_in_a_log_do_not_reach_the_terminal(log, tmp_path, capsys):
    log.write_text("\x1b]0;title\x07hello\x1b[2J\n")
    main(["logs", "--home", str(tmp_path)])
    assert capsys.readouterr().out == "\\x1b]0;title\\x07hello\\x1b[2J\n"


def test_logs_of_a_daemon_that_never_ran_says_so(tmp_path, capsys):
    assert main(["logs", "--home", str(tmp_path)]) == 1
    assert "has written no log yet" in capsys.readouterr().err


def test_logs_of_a_model_are_its_engine_s_also_by_an_alias(tmp_path, log, capsys):
    config = "models:\n  tiny@4bit: {path: 'builtin:demo', aliases: [org/small]}\n"
    (tmp_path / "config.yaml").write_text(config)
    log.write_text(
        encode(Entry(message="engine speaks", model="tiny@4bit"))
        + "\n"
        + encode(Entry(message="another", model="nobody"))
        + "\n"
    )
    for name in ("tiny@4bit", "org/small"):
        assert main(["logs", name, "--home", str(tmp_path)]) == 0
        assert capsys.readouterr().out == "[tiny@4bit] engine speaks\n"
    assert main(["logs", "nobody", "--home", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "[nobody] another\n"


def test_logs_of_a_request_and_of_a_level_also_from_rotated_files(tmp_path, log, capsys):
    log.with_name("fastmlx.log.1").write_text(
        encode(Entry(message="older", request="chatcmpl-1", level="warning")) + "\n"
    )
    log.write_text(
        encode(Entry(message="by the header", request="chatcmpl-2", http="h"))
        + "\n"
        + encode(Entry(message="newer", request="chatcmpl-1"))
        + "\n"
    )

    def shown(*words: str) -> str:
        assert main(["logs", *words, "--home", str(tmp_path)]) == 0
        return capsys.readouterr().out

    assert shown("--request", "chatcmpl-1") == "[chatcmpl-1] older\n[chatcmpl-1] newer\n"
    assert shown("--request", "h") == "[chatcmpl-2] by the header\n"
    assert shown("--level", "warning") == "[chatcmpl-1] older\n"
    assert shown("--grep", "NEWER") == "[chatcmpl-1] newer\n"
    assert json.loads(shown("--json", "-n", "1"))["message"] == "newer"


def test_follow_shows_what_is_appended(log, follower):
    log.write_text("old\nrecent\n")
    wait_for = follower("-n", "1")
    wait_for("recent\n")
    with log.open("a") as file:
        file.write("half")
        file.flush()
        file.write(" a line\n")
    wait_for("recent\nhalf a line\n")


def test_follow_goes_on_after_a_rotation_and_loses_nothing(log, follower):
    log.write_text("one\n")
    wait_for = follower()
    wait_for("one\n")
    with log.open("a") as file:
        log.rename(log.with_name("fastmlx.log.1"))
        file.write("last words\n")
    log.write_text("new file\n")
    wait_for("one\nlast words\nnew file\n")
    with log.open("a") as file:
        file.write("more\n")
    wait_for("one\nlast words\nnew file\nmore\n")


def test_follow_waits_for_a_log_that_does_not_exist_yet(log, follower):
    wait_for = follower()
    time.sleep(0.3)
    log.write_text("born\n")
    wait_for("born\n")


def test_follow_starts_again_when_the_file_is_emptied(log, follower):
    log.write_text("one\ntwo\n")
    wait_for = follower()
    wait_for("one\ntwo\n")
    log.write_text("three\n")
    wait_for("one\ntwo\nthree\n")


@given(
    st.lists(st.text("ab\r\x85 ", max_size=9), max_size=12),
    st.booleans(),
    st.integers(0, 14),
    st.integers(1, 7),
)
def test_the_last_lines_whatever_the_block_size(tmp_path_factory, lines, ends, count, block):
    path = tmp_path_factory.getbasetemp() / "tail.log"
    content = "\n".join(lines) + ("\n" if ends and lines else "")
    path.write_bytes(content.encode())
    whole = [line.rstrip("\r") for line in content.split("\n") if line]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "BLOCK", block)
        found = [entry.message for entry in read.last(path, count)]
    assert found == (whole[-count:] if count else [])
