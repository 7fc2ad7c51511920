"""The end of the log."""

from __future__ import annotations

from pathlib import Path

from fastmlx.admin.log_tail import LINES, LogLine, log_tail
from fastmlx.daemon.logs.entry import Entry, encode


def test_a_trace_is_lines_of_the_level_of_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "fastmlx.log"
    entry = Entry(level="error", logger="daemon.app", message="it broke", trace="Traceback:\n  z")
    path.write_text(encode(entry) + "\n")
    assert log_tail(path).lines == [
        LogLine("app: it broke", "error"),
        LogLine("    Traceback:", "error"),
        LogLine("      z", "error"),
    ]


def test_only_the_end_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "fastmlx.log"
    path.write_text("".join(encode(Entry(message=f"{i:05d} ä")) + "\n" for i in range(20_000)))
    tail = log_tail(path)
    assert len(tail.lines) == LINES
    assert tail.lines[-1].text == "19999 ä"


def test_a_log_that_is_missing_or_no_file_is_no_error_of_the_page(tmp_path: Path) -> None:
    assert log_tail(tmp_path / "fastmlx.log") == ([], None)
    problem = log_tail(tmp_path).problem
    assert problem is not None and "cannot be read" in problem
