"""The file itself: read, refused, written at the first start."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from fastmlx.config.load import ConfigError, load_file, read_text, write_default


def error_of(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read_text(path)
    return caught.value


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    error = error_of(tmp_path / "config.yaml")
    assert str(error) == "config.yaml: does not exist"
    assert error.line is None


def test_a_folder_in_its_place_is_said(tmp_path: Path) -> None:
    assert error_of(tmp_path).message == "is a folder, not a file"


def test_a_pipe_in_its_place_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    assert error_of(tmp_path / "config.yaml").message == "is not a regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.touch(mode=0o000)
    assert "Permission denied" in error_of(path).message


def test_a_path_that_no_file_can_have_is_said() -> None:
    assert "cannot be read" in error_of(Path("a\0b")).message


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would take all memory
    assert error_of(path).message == "is larger than 4 MiB"


def test_the_place_of_a_byte_that_is_not_utf_8_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("# é\nserver: x".encode() + b"\xff\n")
    error = error_of(path)
    assert (error.line, error.column) == (2, 10)
    assert error.message == "byte 0xff is not UTF-8"


def test_the_default_file_is_written_once_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "config.yaml"
    assert write_default(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(load_file(path, {}).models) == ["demo"]
    path.write_text("models: {}\n")
    assert not write_default(path)
    assert path.read_text() == "models: {}\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["config.yaml"]


def test_a_dangling_link_is_left_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.symlink_to(tmp_path / "elsewhere.yaml")
    assert not write_default(path)
    assert path.is_symlink()
