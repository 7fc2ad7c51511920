"""Where the log goes, and that it does not grow without end."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastmlx.config.paths import Home
from fastmlx.daemon.logs import write
from fastmlx.daemon.logs.read import last


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    root = logging.getLogger()
    before, level, raises = [*root.handlers], root.level, logging.raiseExceptions
    yield root
    for handler in [*root.handlers]:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    logging.raiseExceptions = raises


def test_the_file_rotates_and_what_is_kept_has_no_gap(
    root: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTMLX_SERVICE", "1")  # not to the terminal, too
    monkeypatch.setattr(write, "FILE_BYTES", 4000)
    monkeypatch.setattr(write, "FILES", 2)
    home = Home(tmp_path)
    home.create()
    write.set_up(home, "info")
    for number in range(200):
        logging.getLogger("fastmlx.daemon.test").info("line %d, password=hunter2", number)
    files = sorted(path.name for path in home.log_file.parent.iterdir())
    assert files == ["fastmlx.log", "fastmlx.log.1", "fastmlx.log.2"]
    assert all(path.stat().st_size <= 4000 for path in home.log_file.parent.iterdir())
    messages = [entry.message for entry in last(home.log_file, 1000)]
    numbers = [int(re.findall(r"line (\d+), password=\[hidden\]", each)[0]) for each in messages]
    assert numbers == list(range(200 - len(numbers), 200))
    assert len(numbers) > 40


def test_a_deleted_file_is_begun_anew(root: logging.Logger, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    write.set_up(home, "warning")
    log = logging.getLogger("fastmlx.daemon.test")
    log.warning("before")
    home.log_file.unlink()
    write.reopen()
    log.info("nobody wants to know")
    log.warning("after")
    assert [entry.message for entry in last(home.log_file, 10)] == ["after"]
