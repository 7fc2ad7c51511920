"""What `path:` may say, and what is answered when the model is not here."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.protocol.errors import ModelFailed
from folders import write_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def add_snapshot(cache: Path, id: str, commit: str = COMMIT, ref: str = "main") -> Path:
    repository = cache / f"models--{id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / ref).write_text(commit)
    return write_model(repository / "snapshots" / commit)


def test_the_builtin_model_lies_in_the_package():
    folder = resolve("builtin:demo")
    assert (folder.name, folder.is_absolute()) == ("model", True)
    with pytest.raises(ModelFailed, match=r"the only built-in one is builtin:demo"):
        resolve("builtin:other")


def test_folders_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m").mkdir()
    assert resolve(str(tmp_path / "m")) == tmp_path / "m"
    assert resolve("~/m") == tmp_path / "m"


@pytest.mark.parametrize(
    "path", ["/no/such/folder", "~nobody-here/x", "./gone", "/\0", "/" + "x" * 5000]
)
def test_folders_that_are_not_there_are_named(path: str):
    with pytest.raises(ModelFailed, match=r"does not exist|cannot be read"):
        resolve(path)


def test_a_file_is_not_a_folder(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ModelFailed, match="is not a folder"):
        resolve(str(tmp_path / "file"))


def test_a_snapshot_in_the_cache_is_found_by_branch_and_commit(cache: Path):
    main = add_snapshot(cache, "org/model-4bit")
    other = add_snapshot(cache, "org/model-4bit", "f" * 40, "v2")
    assert resolve("org/model-4bit") == main
    assert resolve("org/model-4bit", "v2") == other
    assert resolve("org/model-4bit", "f" * 40) == other


def test_an_id_that_is_not_in_the_cache_says_how_to_get_it(cache: Path):
    with pytest.raises(ModelFailed, match="run `fastmlx pull org/model`"):
        resolve("org/model")
    add_snapshot(cache, "org/model")
    with pytest.raises(ModelFailed, match=r"\(revision v9\) is not on this machine"):
        resolve("org/model", "v9")


def test_a_snapshot_whose_files_are_gone_is_not_here(cache: Path):
    (add_snapshot(cache, "org/model") / "config.json").unlink()
    with pytest.raises(ModelFailed, match="not on this machine"):
        resolve("org/model")


@pytest.mark.parametrize("id", ["a b", "org/..", "a:b/c", "ünï/x", ""])
def test_what_is_neither_folder_nor_id_is_refused(cache: Path, id: str):
    with pytest.raises(ModelFailed, match="neither a folder nor a Hub id"):
        resolve(id)
