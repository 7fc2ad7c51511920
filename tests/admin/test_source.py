"""config.yaml line by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.admin.source import excerpt, split
from fastmlx.config.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("models:", ("", "models", ":", "")),
        ("  port: 6590   # M-L-X", ("  ", "port", ": 6590   ", "# M-L-X")),
        ("# only a comment: yes", ("", "", "", "# only a comment: yes")),
        ("  path: ./a#b", ("  ", "path", ": ./a#b", "")),
        ('  prompt: "say # loud" # so', ("  ", "prompt", ': "say # loud" ', "# so")),
        ("  - item # why", ("", "", "  - item ", "# why")),
        ("http://x", ("", "", "http://x", "")),
    ],
)
def test_keys_and_comments_are_found(line: str, parts: tuple[str, str, str, str]) -> None:
    assert split(1, line, None)[1:5] == parts


@given(st.text(st.characters(exclude_characters="\r\n"), max_size=80))
def test_no_character_of_a_line_is_lost(line: str) -> None:
    found = split(1, line, None)
    assert found.indent + found.key + found.rest + found.comment == line


def test_the_pointer_stands_under_the_column_of_the_error(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("server:\n\tporrt: 1\n  x: 1\n")
    shown = excerpt(path, ConfigError(path, 2, 4, "server.porrt", "unknown key"))
    assert [line.pointer for line in shown.lines] == [None, "\t  ", None]


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()
    problem = excerpt(tmp_path / "config.yaml", None).problem
    assert problem is not None and "folder" in problem
