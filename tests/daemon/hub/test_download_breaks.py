"""Downloads from a small Hub whose connections break."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.hub.download import State
from fastmlx.daemon.hub.downloads import Downloads
from fastmlx.daemon.protocol.errors import (
    DownloadFailed,
    FastMLXError,
    Forbidden,
)
from fetching import WEIGHTS, assert_whole, fetched, folder_of
from hub import Fault, SmallHub


@pytest.mark.parametrize("after", [0, 1, 9_999, 100_000, 300_095])
async def test_a_broken_connection_goes_on_at_the_byte_where_it_broke(
    hub: SmallHub, downloads: Downloads, after: int
):
    hub.fail(WEIGHTS, Fault(after=after))
    assert_whole(await fetched(downloads), hub)
    ranges = [each.range for each in hub.asked if each.name == WEIGHTS]
    assert ranges == [None, f"bytes={after}-" if after else None]


async def test_a_connection_that_breaks_often_is_no_failure_while_something_comes(
    hub: SmallHub, downloads: Downloads
):
    hub.fail(WEIGHTS, *(Fault(after=10_000) for _ in range(10)))
    assert_whole(await fetched(downloads), hub)
    assert hub.asked[-1].range == "bytes=100000-"


async def test_one_through_which_nothing_comes_is_given_up_and_resumed_later(
    hub: SmallHub, downloads: Downloads
):
    hub.fail(WEIGHTS, Fault(after=200_000), *(Fault(after=0) for _ in range(2)))
    with pytest.raises(DownloadFailed, match="could not be fetched"):
        await fetched(downloads)
    (download,) = downloads.all
    assert download.record.state is State.FAILED
    assert download.done_bytes >= 200_000
    downloads.resume(download.record.id)
    await downloads.finished(download)
    assert_whole(download, hub)
    assert hub.asked[-1].range == "bytes=200000-"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
async def test_a_busy_hub_is_asked_again(hub: SmallHub, downloads: Downloads, status: int):
    hub.fail(WEIGHTS, Fault(status=status, headers={"Retry-After": "0"}))
    assert_whole(await fetched(downloads), hub)


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (403, "GatedRepo", Forbidden, "ask for access"),
        (401, "", Forbidden, "HF_TOKEN"),
        (404, "EntryNotFound", DownloadFailed, "status 404"),
        (400, "", DownloadFailed, "status 400"),
    ],
)
async def test_what_another_try_would_not_mend_ends_it_at_once(
    hub: SmallHub,
    downloads: Downloads,
    status: int,
    code: str,
    error: type[FastMLXError],
    words: str,
):
    hub.fail("config.json", Fault(status=status, headers={"X-Error-Code": code}))
    with pytest.raises(error, match=words):
        await fetched(downloads)
    assert hub.fetched.count("config.json") == 1


async def test_a_server_that_ignores_ranges_sends_it_anew(hub: SmallHub, downloads: Downloads):
    hub.fail(WEIGHTS, Fault(after=50_000), Fault(ignores_range=True))
    assert_whole(await fetched(downloads), hub)


async def test_a_server_that_sends_another_part_is_not_believed(
    hub: SmallHub, downloads: Downloads
):
    hub.fail(WEIGHTS, Fault(after=50_000), Fault(starts_at=60_000))
    assert_whole(await fetched(downloads), hub)


async def test_a_damaged_file_is_fetched_again_but_not_for_ever(
    hub: SmallHub, downloads: Downloads, tmp_path: Path
):
    hub.fail(WEIGHTS, Fault(damages=True))
    assert_whole(await fetched(downloads), hub)
    hub.models["org/model"]["config.json"] += b" "
    hub.fail("config.json", Fault(damages=True), Fault(damages=True))
    with pytest.raises(DownloadFailed, match="arrived damaged twice"):
        await fetched(downloads)
    # What was there before is untouched.
    assert (resolve("org/model") / WEIGHTS).exists()
    assert not [p for p in folder_of(tmp_path).root.rglob("*.partial") if p.stat().st_size]


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * 400_000])
async def test_a_beginning_that_is_damaged_or_too_long_is_thrown_away(
    hub: SmallHub, downloads: Downloads, tmp_path: Path, left: bytes
):
    download = await downloads.start("org/model")
    downloads.pause(download.record.id)
    await download.stopped()
    for path in folder_of(tmp_path).root.rglob("*.partial"):
        path.write_bytes(left)
    downloads.resume(download.record.id)
    await downloads.finished(download)
    assert_whole(download, hub)


async def test_a_file_that_shrank_on_the_server_is_an_error_and_no_loop(
    hub: SmallHub, downloads: Downloads
):
    hub.claims[WEIGHTS] = 400_000
    with pytest.raises(DownloadFailed):
        await fetched(downloads)
