"""Where the daemon lives, and what counts as a folder."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from fastmlx.config.paths import Home, looks_like_folder


def test_the_command_line_goes_before_the_environment_before_the_default() -> None:
    environ = {"FASTMLX_HOME": "/env"}
    assert Home.find("/option", environ).root == Path("/option")
    assert Home.find(None, environ).root == Path("/env")
    assert Home.find(None, {}).root == Path.home() / ".fastmlx"
    assert Home.find("~/x", {}).root == Path.home() / "x"


def test_a_relative_home_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Home.find("here", {}).root == tmp_path / "here"


def test_the_folders_are_made_for_this_user_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "a" / "home")
    home.create()
    home.create()
    for folder in (home.root, home.cache, home.logs, home.run, home.models):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("value", "is_folder"),
    [
        ("builtin:demo", False),
        ("org/model", False),
        ("gpt2", False),
        ("/models/x", True),
        ("~/models", True),
        ("./x", True),
        ("../x", True),
        ("models/of/mine", True),
        ("models/", True),
    ],
)
def test_folders_are_told_from_hub_ids_by_their_text(value: str, is_folder: bool) -> None:
    assert looks_like_folder(value) is is_folder
