"""The end of the log."""

from __future__ import annotations

import logging
from pathlib import Path

from fastmlx.admin.log_tail import LINES, READ_BYTES, LogLine, log_tail, parse
from hypothesis import given
from hypothesis import strategies as st


def test_a_traceback_belongs_to_the_line_before_it() -> None:
    text = "2026-11-21 14:00:01,000 INFO a: x\n2026-11-21 14:00:02,000 ERROR b: y\nTraceback:\n  z"
    assert [line.level for line in parse(text)] == ["info", "error", "error", "error"]


def test_levels_are_found_as_python_writes_them() -> None:
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        name = logging.getLevelName(level)
        assert parse(f"2026-11-21 07:55:25,596 {name} x.y: text")[0].level == name.lower()
    assert parse("2026-11-21 07:55:25,596 CRITICAL x: y")[0].level == "error"


def test_colours_of_a_terminal_are_taken_out() -> None:
    assert parse("\x1b[31mERROR\x1b[0m it\x07 broke") == [LogLine("ERROR it broke", "error")]


@given(st.text())
def test_any_text_gives_lines_without_control_characters(text: str) -> None:
    for line in parse(text):
        assert not any(ord(c) < 32 and c != "\t" for c in line.text)


def test_only_the_end_of_a_large_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "fastmlx.log"
    path.write_text("".join(f"INFO {i:05d} {'ä' * 30}\n" for i in range(20_000)))
    tail = log_tail(path)
    assert len(tail.lines) == LINES
    assert tail.lines[-1].text.startswith("INFO 19999")
    path.write_text("x" * (3 * READ_BYTES))
    assert len(log_tail(path).lines) <= 1


def test_a_log_that_is_missing_or_no_file_is_no_error_of_the_page(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "fastmlx.log") == ([], None)
    problem = log_tail(tmp_path).problem
    assert problem is not None and "cannot be read" in problem
