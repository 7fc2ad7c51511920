"""The end of the log, while it is written and rotated."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.admin.log_reader import COUNT, LogReader
from fastmlx.daemon.logs.entry import Entry, Wanted, encode


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fastmlx.log"


def write(path: Path, *messages: str, level: str = "info") -> None:
    with path.open("a") as file:
        file.writelines(encode(Entry(message=each, level=level)) + "\n" for each in messages)


def shown(reader: LogReader, path: Path, wanted: Wanted) -> list[str]:
    return [entry.message for entry in reader.read(path, wanted).entries]


def test_only_the_end_is_shown_and_goes_on(path: Path) -> None:
    reader = LogReader()
    everything = [f"{i:05d} ä" for i in range(2_000)]
    write(path, *everything)
    for more in ([], ["next"], ["and", "on"]):
        write(path, *more)
        everything += more
        assert shown(reader, path, Wanted()) == everything[-COUNT:]


def test_each_sees_what_was_asked_for_also_in_files_that_were_rotated(path: Path) -> None:
    reader = LogReader()
    wanted = Wanted(level="error")
    write(path, "one", level="error")
    write(path, "fine")
    assert shown(reader, path, wanted) == ["one"]
    path.rename(path.with_name("fastmlx.log.1"))
    assert shown(reader, path, wanted) == []  # between the two steps of a rotation
    write(path, "two", level="error")
    assert shown(reader, path, wanted) == ["one", "two"]
    write(path, "three", level="error")
    assert shown(reader, path, wanted) == ["one", "two", "three"]
    path.write_text("")
    assert shown(reader, path, wanted) == ["one"]
    assert len(shown(reader, path, Wanted())) == 2


def test_a_line_that_is_half_written_is_shown_when_it_is_whole(path: Path) -> None:
    reader = LogReader()
    line = encode(Entry(message="whole"))
    with path.open("a") as file:
        file.write(line[:10])
        file.flush()
        assert shown(reader, path, Wanted()) == []
        file.write(line[10:] + "\n")
    assert shown(reader, path, Wanted()) == ["whole"]


def test_many_questions_are_forgotten_and_answered_anew(path: Path) -> None:
    reader = LogReader()
    write(path, *(f"word{i:02d}" for i in range(30)))
    for _ in range(2):
        for i in range(30):
            assert shown(reader, path, Wanted(text=f"WORD{i:02d}")) == [f"word{i:02d}"]


def test_a_log_that_is_missing_or_no_file_is_no_error_of_the_page(
    path: Path, tmp_path: Path
) -> None:
    reader = LogReader()
    assert reader.read(path, Wanted()) == ([], None)
    problem = reader.read(tmp_path, Wanted()).problem
    assert problem is not None and "cannot be read" in problem
