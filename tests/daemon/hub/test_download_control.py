"""Downloads that are paused, resumed, cancelled, and that outlive their process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.hub.download import State
from fastmlx.daemon.hub.downloads import Downloads
from fastmlx.daemon.protocol.errors import (
    Conflict,
    DownloadNotFound,
)
from fetching import QUICK, WEIGHTS, assert_whole, begun, fetched, folder_of, held, until
from hub import SmallHub


async def test_a_paused_download_keeps_what_it_has_and_goes_on_from_there(
    hub: SmallHub, downloads: Downloads
):
    go_on = held(hub)
    download = await begun(downloads)
    assert download.as_json()["state"] == "running"
    downloads.pause(download.record.id)
    assert download.as_json()["state"] == "paused"
    with pytest.raises(Conflict, match="is paused"):
        downloads.pause(download.record.id)
    with pytest.raises(Conflict, match="was stopped"):
        await downloads.finished(download)
    go_on.set()
    await download.stopped()
    downloads.resume(download.record.id)
    await downloads.finished(download)
    assert_whole(download, hub)
    last = [each.range for each in hub.asked if each.name == WEIGHTS][-1]
    assert last is not None
    assert int(last[6:-1]) >= 100_000


async def test_resumed_at_once_it_waits_for_the_thread_that_still_writes(
    hub: SmallHub, downloads: Downloads
):
    go_on = held(hub)
    download = await begun(downloads)
    downloads.pause(download.record.id)
    downloads.resume(download.record.id)
    await until(lambda: download.record.state is State.RUNNING)
    go_on.set()
    await downloads.finished(download)
    assert_whole(download, hub)


async def test_asking_again_for_what_is_paused_goes_on(hub: SmallHub, downloads: Downloads):
    go_on = held(hub)
    download = await begun(downloads)
    assert await downloads.start("org/model") is download
    downloads.pause(download.record.id)
    go_on.set()
    assert await downloads.start("org/model", "main") is download
    await downloads.finished(download)
    assert len(downloads.all) == 1


async def test_two_who_ask_at_once_get_the_same_download(hub: SmallHub, downloads: Downloads):
    go_on = held(hub)
    one, other = await asyncio.gather(*(downloads.start("org/model") for _ in range(2)))
    assert one is other
    go_on.set()
    await downloads.finished(one)
    assert hub.fetched.count(WEIGHTS) == 1


async def test_a_cancelled_download_leaves_nothing(
    hub: SmallHub, downloads: Downloads, tmp_path: Path
):
    go_on = held(hub)
    download = await begun(downloads)
    go_on.set()
    await downloads.cancel(download.record.id)
    assert downloads.all == []
    assert not folder_of(tmp_path).root.exists()
    with pytest.raises(DownloadNotFound):
        downloads.pause(download.record.id)


async def test_cancelling_an_update_leaves_what_was_there(
    hub: SmallHub, downloads: Downloads, tmp_path: Path
):
    first = await fetched(downloads)
    before = {p.name: p.stat().st_size for p in (first.folder.root / "blobs").iterdir()}
    hub.models["org/model"][WEIGHTS] += b"more"
    go_on = held(hub)
    second = await begun(downloads)
    go_on.set()
    await downloads.cancel(second.record.id)
    after = {p.name: p.stat().st_size for p in (first.folder.root / "blobs").iterdir()}
    assert after == before
    assert resolve("org/model") == first.snapshot
    assert not second.snapshot.exists()


async def test_more_than_two_wait_and_may_be_paused_while_they_wait(
    hub: SmallHub, downloads: Downloads, tmp_path: Path
):
    ids = ["org/model", "org/b", "org/c"]
    for id in ids[1:]:
        hub.add(id, tmp_path / id)
    events = [held(hub) for _ in range(2)]
    started = [await downloads.start(id) for id in ids]
    await until(lambda: sum(d.record.state is State.RUNNING for d in started) == 2)
    waiting = started[2]
    assert waiting.record.state is State.QUEUED
    downloads.pause(waiting.record.id)
    downloads.resume(waiting.record.id)
    for event in events:
        event.set()
    for each in started:
        await downloads.finished(each)
        assert each.record.state is State.DONE
    assert [each.plan.model for each in downloads.all] == ids[::-1]


async def test_what_runs_when_the_process_ends_runs_again_at_the_next_start(
    hub: SmallHub, downloads: Downloads, tmp_path: Path
):
    go_on = held(hub)
    download = await begun(downloads)
    go_on.set()
    await downloads.close()
    again = Downloads(tmp_path / "downloads.json", QUICK)
    again.restore()
    (restored,) = again.all
    assert restored.record.id == download.record.id
    await again.finished(restored)
    assert_whole(restored, hub)
    assert json.loads((tmp_path / "downloads.json").read_text())[0]["state"] == "done"


async def test_what_is_paused_stays_so_and_says_how_far_it_is(
    hub: SmallHub, downloads: Downloads, tmp_path: Path
):
    go_on = held(hub)
    download = await begun(downloads)
    downloads.pause(download.record.id)
    go_on.set()
    await downloads.close()
    again = Downloads(tmp_path / "downloads.json", QUICK)
    again.restore()
    (restored,) = again.all
    assert restored.record.state is State.PAUSED
    assert restored.as_json()["done_bytes"] >= 100_000
    again.resume(restored.record.id)
    await again.finished(restored)
    assert_whole(restored, hub)


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"id": "x"}]', "\udcff"])
async def test_a_damaged_journal_is_an_empty_one(tmp_path: Path, text: str):
    journal = tmp_path / "downloads.json"
    journal.write_bytes(text.encode("utf-8", "surrogateescape"))
    downloads = Downloads(journal)
    downloads.restore()
    assert downloads.all == []
