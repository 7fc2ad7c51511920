"""What is fetched from a small Hub on this machine through the real client, and where to."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastmlx.daemon.hub.cache_folder import CacheFolder
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.hub.describe import describe
from fastmlx.daemon.hub.download import State
from fastmlx.daemon.hub.downloads import Downloads
from fastmlx.daemon.hub.files import RemoteFile
from fastmlx.daemon.hub.speed import Speed
from fastmlx.daemon.hub.transfer import Patience
from fastmlx.daemon.protocol.errors import (
    ModelFailed,
)
from fetching import NEEDED, WEIGHTS, assert_whole, fetched, folder_of
from hub import SmallHub, environment, git_sha


def found_by_the_hub_s_client(hub: SmallHub, cache: Path) -> list[str]:
    code = (
        "from huggingface_hub import snapshot_download, scan_cache_dir\n"
        "print(snapshot_download('org/model', local_files_only=True,"
        " allow_patterns=['*.json', '*.safetensors', '*.jinja']))\n"
        "print(scan_cache_dir().warnings, [r.repo_id for r in scan_cache_dir().repos])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment(hub.url, cache),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return run.stdout.splitlines()


async def test_a_model_is_fetched_without_what_it_does_not_need(
    hub: SmallHub, downloads: Downloads
):
    download = await fetched(downloads)
    assert_whole(download, hub)
    assert describe(download.snapshot).weights_bytes == 300_000
    shown = download.as_json()
    assert (shown["state"], shown["files_done"], shown["files"]) == ("done", 3, 3)
    total = sum(len(hub.models["org/model"][name]) for name in NEEDED)
    assert shown["done_bytes"] == shown["total_bytes"] == total

    hub.asked.clear()
    assert (await fetched(downloads)).record.state is State.DONE
    assert hub.fetched == []


async def test_the_layout_is_that_of_the_hub_s_own_client(
    hub: SmallHub, downloads: Downloads, tmp_path: Path
):
    download = await fetched(downloads)
    link = download.snapshot / WEIGHTS
    assert link.is_symlink()
    assert not link.readlink().is_absolute()
    assert (folder_of(tmp_path).root / "refs/main").read_text() == hub.commit("org/model")
    found = await asyncio.to_thread(found_by_the_hub_s_client, hub, tmp_path / "cache")
    assert found == [str(download.snapshot), "[] ['org/model']"]


async def test_files_with_the_same_content_are_fetched_once(hub: SmallHub, downloads: Downloads):
    hub.models["org/model"]["sub/again.json"] = hub.models["org/model"]["config.json"]
    download = await fetched(downloads)
    assert_whole(download, hub, [*NEEDED, "sub/again.json"])
    assert len(hub.fetched) == 3


async def test_layers_after_the_pooling_are_fetched_but_are_no_model_alone(
    hub: SmallHub, downloads: Downloads
):
    layer = {"2_Dense/config.json": b"{}", "2_Dense/model.safetensors": b"layer"}
    hub.models["org/model"] |= layer
    assert_whole(await fetched(downloads), hub, [*NEEDED, *layer])
    hub.models["org/model"]["pytorch_model.bin"] = hub.models["org/model"].pop(WEIGHTS)
    hub.asked.clear()
    with pytest.raises(ModelFailed, match="has no MLX weights"):
        await downloads.start("org/model")
    assert hub.fetched == []


async def test_a_revision_that_moved_on_shares_what_did_not_change(
    hub: SmallHub, downloads: Downloads
):
    first = await fetched(downloads)
    hub.models["org/model"]["config.json"] += b"\n"
    hub.asked.clear()
    second = await fetched(downloads)
    assert hub.fetched == ["config.json"]
    assert_whole(second, hub)
    assert first.snapshot != second.snapshot
    assert first.snapshot.is_dir()


async def test_a_commit_may_be_asked_for(hub: SmallHub, downloads: Downloads, tmp_path: Path):
    commit = hub.commit("org/model")
    download = await fetched(downloads, commit)
    assert resolve("org/model", commit) == download.snapshot
    assert not (folder_of(tmp_path).root / "refs").exists()


async def test_on_a_disk_without_links_the_files_lie_in_the_snapshot(
    hub: SmallHub, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert_whole(await fetched(downloads), hub)


async def test_a_link_that_leads_nowhere_is_mended(hub: SmallHub, downloads: Downloads):
    download = await fetched(downloads)
    (download.snapshot / WEIGHTS).resolve().unlink()
    (download.snapshot / "config.json").unlink()
    (download.snapshot / "config.json").symlink_to("/nowhere")
    hub.asked.clear()
    assert_whole(await fetched(downloads), hub)
    assert hub.fetched == [WEIGHTS]


def test_waits_grow_and_end_and_the_server_is_heard():
    patience = Patience(tries=5, first_s=1, longest_s=5)
    assert [patience.wait_s(n) for n in range(1, 6)] == [1, 2, 4, 5, None]
    assert patience.wait_s(1, asked_s=20) == 20
    assert patience.wait_s(1, asked_s=86_400) == 50


def test_speed_is_that_of_the_last_seconds():
    speed = Speed()
    for second in range(30):
        speed.see(second * 1000 if second < 20 else 20_000 + (second - 20) * 50, float(second))
    assert speed.per_s(20_450, 29.0) < 1000
    assert speed.per_s(20_450, 60.0) == 0
    speed.see(0, 61.0)
    assert speed.per_s(0, 61.0) == 0


def test_a_blob_is_named_as_git_and_lfs_name_it(tmp_path: Path):
    folder = CacheFolder(tmp_path, "org/model")
    file = RemoteFile("a.json", 3, git_sha(b"abc"))
    assert folder.blob(file).name == "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f"
