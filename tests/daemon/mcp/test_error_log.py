"""What a server writes to stderr, however much it is."""

from __future__ import annotations

from pathlib import Path

from fastmlx.daemon.mcp.error_log import ROTATE_BYTES, ErrorLog


def test_a_program_that_never_ends_does_not_fill_the_disk(tmp_path: Path):
    errors = ErrorLog(tmp_path, "a/b")
    with errors.open() as file:
        file.write("x" * ROTATE_BYTES + "\n")
        file.flush()
        errors.trim()
        assert errors.path.stat().st_size == 0
        file.write("It goes on.\n")
        file.flush()
        assert errors.tail() == "It goes on."
        errors.trim()
    assert errors.path.read_text() == "It goes on.\n"
    older = tmp_path / "mcp-a_b.log.1"
    assert older.stat().st_size == ROTATE_BYTES + 1
    assert older.stat().st_mode & 0o777 == 0o600


def test_the_last_words_are_of_the_program_that_was_started_last(tmp_path: Path):
    errors = ErrorLog(tmp_path, "a")
    with errors.open() as file:
        file.write("before\n")
    with errors.open() as file:
        assert errors.tail() == ""
        file.write("one\n\ntwo\n")
        file.flush()
        assert errors.tail() == "one | two"
