"""Saving config.yaml: whole or not at all, and never over an edit that nobody has seen."""

from __future__ import annotations

import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import fastmlx.config.save as saving
import pytest
from fastmlx.config.errors import ConfigError
from fastmlx.config.save import FileChanged, current_text, fingerprint, save


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("old\n")
    return path


def test_the_text_is_replaced_and_nothing_is_left_behind(file: Path) -> None:
    file.chmod(0o640)
    save(file, fingerprint("old\n"), "new\n")
    assert file.read_text() == "new\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_changed_meanwhile_is_not_touched(file: Path) -> None:
    edited = fingerprint("old\n")
    file.write_text("theirs\n")
    with pytest.raises(FileChanged) as refused:
        save(file, edited, "ours\n")
    assert refused.value.text == "theirs\n"
    assert file.read_text() == "theirs\n"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_an_edit_of_the_last_instant_is_put_back(
    file: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = saving._exchange

    def late(one: Path, other: Path) -> bool:
        monkeypatch.setattr(saving, "_exchange", exchange)
        if not can_exchange:
            return False
        new = other.with_suffix(".vim")
        new.write_text("theirs\n")
        new.replace(other)
        return exchange(one, other)

    monkeypatch.setattr(saving, "_exchange", late)
    if not can_exchange:  # a disk that cannot: a plain rename
        save(file, fingerprint("old\n"), "ours\n")
        assert file.read_text() == "ours\n"
        return
    with pytest.raises(FileChanged) as refused:
        save(file, fingerprint("old\n"), "ours\n")
    assert refused.value.text == "theirs\n"
    assert file.read_text() == "theirs\n"


@pytest.mark.parametrize("edits", [2, 3, 4])
def test_of_edits_in_every_instant_the_newest_stays(
    file: Path, edits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = saving._exchange
    numbers = iter(range(1, edits + 1))

    def late(one: Path, other: Path) -> bool:
        if number := next(numbers, 0):
            new = other.with_suffix(".vim")
            new.write_text(f"theirs {number}\n")
            new.replace(other)
        return exchange(one, other)

    monkeypatch.setattr(saving, "_exchange", late)
    with pytest.raises(FileChanged):
        save(file, fingerprint("old\n"), "ours\n")
    assert file.read_text() == f"theirs {edits}\n"
    assert list(file.parent.iterdir()) == [file]


def test_who_opened_the_file_before_the_exchange_may_write_after_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = file.open("r+")

    def write(_: float) -> None:
        editor.write("theirs\n")
        editor.close()

    monkeypatch.setattr(saving, "time", SimpleNamespace(sleep=write))
    with pytest.raises(FileChanged) as refused:
        save(file, fingerprint("old\n"), "ours\n")
    assert refused.value.text == file.read_text() == "theirs\n"


def test_a_file_that_appears_in_the_last_instant_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, create = tmp_path / "config.yaml", saving._create

    def late(new: Path, target: Path) -> None:
        target.write_text("theirs\n")
        create(new, target)

    monkeypatch.setattr(saving, "_create", late)
    with pytest.raises(FileChanged) as refused:
        save(path, fingerprint(""), "ours\n")
    assert refused.value.text == path.read_text() == "theirs\n"


def test_what_others_save_is_put_back_even_when_it_is_no_text(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = saving._exchange

    def late(one: Path, other: Path) -> bool:
        monkeypatch.setattr(saving, "_exchange", exchange)
        other.write_bytes(b"\xff")
        return exchange(one, other)

    monkeypatch.setattr(saving, "_exchange", late)
    with pytest.raises(ConfigError, match="UTF-8"):
        save(file, fingerprint("old\n"), "ours\n")
    assert file.read_bytes() == b"\xff"


def test_a_link_stays_a_link(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(file.name)
    save(link, fingerprint("old\n"), "new\n")
    assert link.is_symlink()
    assert file.read_text() == "new\n"


def test_a_file_that_is_gone_is_an_empty_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    assert current_text(path) == ""
    save(path, fingerprint(""), "new\n")
    assert path.read_text() == "new\n"
    with pytest.raises(FileChanged):
        save(path, fingerprint(""), "newer\n")


def test_of_many_editors_of_one_text_one_wins_and_the_others_know(file: Path) -> None:
    outcomes: list[str] = []

    def edit(text: str) -> None:
        try:
            save(file, fingerprint("old\n"), text)
            outcomes.append(text)
        except FileChanged:
            outcomes.append("refused")

    threads = [threading.Thread(target=edit, args=(f"{n}\n",)) for n in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(outcomes)[1:] == ["refused"] * 7
    assert file.read_text() == sorted(outcomes)[0]
    assert list(file.parent.iterdir()) == [file]
