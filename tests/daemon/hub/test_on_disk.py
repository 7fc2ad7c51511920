"""What the Hub's cache holds, and what deleting frees: by hand-made folders in its layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.daemon.hub import on_disk
from fastmlx.daemon.protocol.errors import ModelNotFound

OLD, NEW = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """org/model at two commits that share 1000 bytes, with a download that is not finished."""
    root = tmp_path / "models--org--model"
    for name, size in (("shared", 1000), ("old", 10), ("new", 20), ("next.partial", 300)):
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        (root / "blobs" / name).write_bytes(bytes(size))
    for commit, own in ((OLD, "old"), (NEW, "new")):
        snapshot = root / "snapshots" / commit
        (snapshot / "deep").mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to("../../blobs/shared")
        (snapshot / "deep/same").symlink_to("../../../blobs/shared")
        (snapshot / "config.json").symlink_to(f"../../blobs/{own}")
    (root / "refs/refs/pr").mkdir(parents=True)
    (root / "refs/main").write_text(NEW)
    (root / "refs/refs/pr/1").write_text(OLD)
    (tmp_path / ".locks" / root.name).mkdir(parents=True)
    (tmp_path / "datasets--org--data").mkdir()
    (tmp_path / "version.txt").touch()
    return tmp_path


def used(folder: Path) -> int:
    return sum(p.stat().st_size for p in (folder / "blobs").iterdir())


def test_shared_blobs_count_once(cache: Path):
    (model,) = on_disk.on_disk(cache)
    assert (model.id, model.size_bytes, model.partial_bytes) == ("org/model", 1330, 300)
    found = {each.commit: each for each in model.revisions}
    assert (found[OLD].size_bytes, found[OLD].frees_bytes) == (1010, 10)
    assert (found[NEW].size_bytes, found[NEW].frees_bytes) == (1020, 20)
    assert (found[OLD].refs, found[NEW].refs) == (["refs/pr/1"], ["main"])


def test_an_entry_names_the_revision_where_main_is_not_here(cache: Path):
    refs = cache / "models--org--model/refs"
    assert on_disk.find("org/model", cache).revision is None
    (refs / "main").unlink()
    assert on_disk.find("org/model", cache).revision == "refs/pr/1"
    (refs / "refs/pr/1").unlink()
    assert on_disk.find("org/model", cache).revision in (OLD, NEW)


def test_deleting_one_snapshot_frees_what_it_said_and_leaves_the_other_whole(cache: Path):
    root = cache / "models--org--model"
    before = used(root)
    assert on_disk.delete("org/model", OLD, cache) == 10 == before - used(root)
    assert {p.name: p.stat().st_size for p in (root / "snapshots" / NEW).glob("*.*")} == {
        "model.safetensors": 1000,
        "config.json": 20,
    }
    assert not (root / "refs/refs/pr/1").exists()
    assert (root / "refs/main").exists()


def test_deleting_the_last_snapshot_or_all_leaves_nothing(cache: Path):
    on_disk.delete("org/model", OLD, cache)
    assert on_disk.delete("org/model", NEW, cache) == 1320
    assert sorted(p.name for p in cache.iterdir()) == [
        ".locks",
        "datasets--org--data",
        "version.txt",
    ]
    assert not list((cache / ".locks").iterdir())
    assert on_disk.on_disk(cache) == []


@pytest.mark.parametrize("id", ["org/nobody", "../x", "", "org/..", "/"])
def test_what_is_not_there_is_not_deleted(cache: Path, id: str):
    with pytest.raises(ModelNotFound):
        on_disk.delete(id, None, cache)
    with pytest.raises(ModelNotFound, match="no snapshot"):
        on_disk.delete("org/model", "../../..", cache)
    assert len(on_disk.on_disk(cache)) == 1


def test_a_link_that_leads_out_of_the_cache_frees_nothing_there(cache: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.write_bytes(bytes(77))
    (cache / "models--org--model/snapshots" / OLD / "extra").symlink_to(outside)
    on_disk.delete("org/model", None, cache)
    assert outside.stat().st_size == 77


def test_no_cache_at_all_holds_nothing(tmp_path: Path):
    assert on_disk.on_disk(tmp_path / "nowhere") == []
