"""Downloads from a small Hub on this machine whose connections break, through the real client."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any

import pytest
from fastmlx.daemon.hub.cache_folder import CacheFolder
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.hub.describe import describe
from fastmlx.daemon.hub.download import Download, State
from fastmlx.daemon.hub.downloads import Downloads
from fastmlx.daemon.hub.files import RemoteFile, is_harmless
from fastmlx.daemon.hub.redirects import check, may_lead
from fastmlx.daemon.hub.speed import Speed
from fastmlx.daemon.hub.transfer import Patience
from fastmlx.daemon.protocol.errors import (
    BadRequest,
    Conflict,
    DiskFull,
    DownloadFailed,
    DownloadNotFound,
    FastMLXError,
    Forbidden,
    ModelFailed,
    ModelNotFound,
)
from hub import Fault, SmallHub, environment, git_sha, running, small_hub, use
from hypothesis import given
from hypothesis import strategies as st

QUICK = Patience(tries=3, first_s=0.01, longest_s=0.02)
WEIGHTS = "model.safetensors"
NEEDED = ["chat_template.jinja", "config.json", WEIGHTS]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A Hub with org/model, which this process uses, with an empty cache."""
    with small_hub(tmp_path / "source") as hub:
        use(hub.url, tmp_path / "cache", monkeypatch.setattr)
        yield hub


@pytest.fixture
async def downloads(hub: SmallHub, tmp_path: Path) -> AsyncIterator[Downloads]:
    downloads = Downloads(tmp_path / "downloads.json", QUICK)
    yield downloads
    await downloads.close()


def folder_of(tmp_path: Path) -> CacheFolder:
    return CacheFolder(tmp_path / "cache", "org/model")


async def fetched(downloads: Downloads, revision: str | None = None) -> Download:
    """org/model, to the end."""
    download = await downloads.start("org/model", revision)
    await downloads.finished(download)
    return download


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (threads change it)
            await asyncio.sleep(0.01)


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


def below(folder: Path, pattern: str) -> list[Path]:
    return list(folder.rglob(pattern))


def assert_whole(download: Download, hub: SmallHub, names: list[str] | None = None) -> None:
    """The snapshot is what the Hub has, and every tool finds it."""
    files = {p.relative_to(download.snapshot).as_posix() for p in download.snapshot.rglob("*")}
    assert {name for name in files if "." in name} == set(names or NEEDED)
    for name in names or NEEDED:
        assert (download.snapshot / name).read_bytes() == hub.models["org/model"][name]
    assert resolve("org/model") == download.snapshot
    assert not list(download.folder.root.rglob("*.partial"))


# ---- what is fetched, and where to


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


# ---- what breaks on the way


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


# ---- what is refused before anything is fetched


@pytest.mark.parametrize(
    ("id", "revision", "error", "message"),
    [
        ("org/unknown", None, ModelNotFound, "There is no model org/unknown on the Hub"),
        ("org/model", "v9", ModelNotFound, "org/model has no revision v9"),
        ("org/model", "../../x", BadRequest, "is not a revision"),
        ("a b c", None, BadRequest, "'a b c' is not a Hub id"),
        ("../x", None, BadRequest, "is not a Hub id"),
    ],
)
async def test_what_cannot_be_fetched_says_why(
    downloads: Downloads, id: str, revision: str | None, error: type[FastMLXError], message: str
):
    with pytest.raises(error, match=message):
        await downloads.start(id, revision)
    assert downloads.all == []


@pytest.mark.parametrize("place", ["169.254.169.254/latest", "[::ffff:10.0.0.1]:8080"])
async def test_a_hub_cannot_lead_into_another_network_of_this_machine(
    hub: SmallHub, downloads: Downloads, place: str
):
    hub.fail(WEIGHTS, Fault(302, {"Location": f"http://{place}/"}))
    with pytest.raises(DownloadFailed, match="an address within a network of this machine"):
        await fetched(downloads)
    assert hub.fetched.count(WEIGHTS) == 1, "it is not tried again"
    assert_whole(await fetched(downloads), hub)


async def test_files_may_lie_elsewhere_and_the_token_stays_at_the_hub(
    hub: SmallHub, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with running() as elsewhere:
        elsewhere.models = hub.models
        path = f"/org/model/resolve/main/{WEIGHTS}"
        hub.fail(WEIGHTS, Fault(302, {"Location": elsewhere.url + path}))
        assert_whole(await fetched(downloads), hub)
    assert [each.token for each in hub.asked] == ["Bearer hf_secret"] * len(NEEDED)
    assert [(each.name, each.token) for each in elsewhere.asked] == [(WEIGHTS, None)]


@pytest.mark.parametrize(
    ("hub_at", "leads_to", "may"),
    [
        ("93.184.216.34", "2.2.2.2", True),
        ("93.184.216.34", "127.0.0.1", False),
        ("93.184.216.34", "::1", False),
        ("93.184.216.34", "::ffff:127.0.0.1", False),
        ("93.184.216.34", "64:ff9b::7f00:1", False),
        ("93.184.216.34", "2002:c0a8:101::", False),
        ("93.184.216.34", "192.168.1.1", False),
        ("93.184.216.34", "100.64.0.1", False),
        ("93.184.216.34", "fd00::1", False),
        ("10.1.1.1", "192.168.1.1", True),
        ("10.1.1.1", "127.0.0.1", False),
        ("127.0.0.1", "::1", True),
        ("127.0.0.1", "93.184.216.34", True),
        ("127.0.0.1", "10.1.1.1", False),
        ("169.254.1.1", "169.254.169.254", False),
    ],
)
def test_a_hub_leads_only_to_the_open_or_to_where_it_is_itself(
    hub_at: str, leads_to: str, may: bool, monkeypatch: pytest.MonkeyPatch
):
    assert may_lead([ip_address(hub_at)], [ip_address(leads_to)]) is may
    mixed = [ip_address("2.2.2.2"), ip_address(leads_to)]
    assert may_lead([ip_address(hub_at)], mixed) is may
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"https://{hub_at}")
    url = f"http://[{leads_to}]/x" if ":" in leads_to else f"http://{leads_to}/x"
    with contextlib.nullcontext() if may else pytest.raises(DownloadFailed):
        check(url)
    check(f"https://{hub_at}:8443/elsewhere")  # itself


@pytest.mark.parametrize("stored", [False, True])
async def test_a_gated_model_wants_a_token_and_is_fetched_with_one(
    hub: SmallHub,
    downloads: Downloads,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stored: bool,
):
    hub.gated.add("org/model")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(Forbidden, match="ask for access on its page"):
        await downloads.start("org/model")
    assert hub.fetched == []
    if stored:
        (tmp_path / "cache").mkdir(exist_ok=True)
        (tmp_path / "cache/no-token").write_text("hf_secret")  # see `hub.use`
    else:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert_whole(await fetched(downloads), hub)
    assert {each.token for each in hub.asked} == {"Bearer hf_secret"}


async def test_a_disk_that_is_too_small_is_noticed_before(
    hub: SmallHub, downloads: Downloads, tmp_path: Path
):
    hub.claims[WEIGHTS] = 1 << 60
    with pytest.raises(DiskFull, match=r"needs 1073741824\.0 GiB more"):
        await downloads.start("org/model")
    assert hub.fetched == []
    assert not (tmp_path / "cache").exists()


async def test_a_disk_that_becomes_full_keeps_what_is_there(
    hub: SmallHub, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
):
    real = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *args, **options: _FullDisk(real(*args, **options)))
        with pytest.raises(DiskFull, match="Make room, then resume"):
            await fetched(downloads)
    (download,) = downloads.all
    downloads.resume(download.record.id)
    await downloads.finished(download)
    assert_whole(download, hub)
    # Several files are fetched at once: which of them came last is the machine's choice.
    assert [each.range for each in hub.asked if each.name == WEIGHTS][-1] is not None


class _FullDisk:
    """A file on a disk that has room for 150,000 bytes: no test has a disk of its own."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        if self._file.tell() + len(data) > 150_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


async def test_offline_nothing_is_asked(
    hub: SmallHub, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadFailed, match="HF_HUB_OFFLINE"):
        await downloads.start("org/model")


async def test_no_network_is_a_clear_error(
    hub: SmallHub, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadFailed, match="org/model could not be fetched: "):
        await downloads.start("org/model")


@pytest.mark.parametrize("name", ["../evil.json", "a/../../evil.json", "/evil.json", "a\\b.json"])
async def test_names_that_lead_out_of_the_folder_are_refused(
    hub: SmallHub, downloads: Downloads, tmp_path: Path, name: str
):
    hub.models["org/model"][name] = b"{}"
    with pytest.raises(DownloadFailed, match="would not stay in its folder"):
        await downloads.start("org/model")
    assert hub.fetched == []
    assert not below(tmp_path, "evil.json")


@given(name=st.text(max_size=40) | st.lists(st.sampled_from("../a\\:~"), max_size=9).map("".join))
def test_a_harmless_name_stays_below_its_folder(name: str):
    if is_harmless(name):
        path = os.path.normpath(f"/base/folder/{name}")
        assert path.startswith("/base/folder/")
        assert len(Path(path).parts) == 4 + name.count("/")


# ---- pause, resume, cancel


def held(hub: SmallHub, after: int = 100_000) -> threading.Event:
    """The weights stop after so many bytes, until the event is set."""
    go_on = threading.Event()
    hub.fail(WEIGHTS, Fault(after=after, until=go_on))
    return go_on


async def begun(downloads: Downloads, at_least: int = 100_000) -> Download:
    download = await downloads.start("org/model")
    await until(lambda: download.done_bytes >= at_least)
    return download


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


# ---- across restarts


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


# ---- figures


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
