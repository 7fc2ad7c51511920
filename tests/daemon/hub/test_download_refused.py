"""What is refused before anything is fetched, and where a Hub cannot lead."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import pytest
from fastmlx.daemon.hub.downloads import Downloads
from fastmlx.daemon.hub.files import is_harmless
from fastmlx.daemon.hub.redirects import check, may_lead
from fastmlx.daemon.protocol.errors import (
    BadRequest,
    DiskFull,
    DownloadFailed,
    FastMLXError,
    Forbidden,
    ModelNotFound,
)
from fetching import NEEDED, WEIGHTS, assert_whole, below, fetched
from hub import Fault, SmallHub, running
from hypothesis import given
from hypothesis import strategies as st


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


async def test_a_name_that_gets_another_address_meanwhile_leads_nowhere(
    hub: SmallHub, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
):
    """Looked up before a connection, both names are of the open; connected to, of this machine."""
    ask, port = socket.getaddrinfo, urlsplit(hub.url).port

    def changing(host: Any, asked: Any, *rest: Any, **options: Any) -> Any:
        if str(host).endswith(".example"):
            host = "93.184.216.34" if asked is None else "127.0.0.1"
        return ask(host, asked, *rest, **options)

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://hub.example:{port}")
    monkeypatch.setattr(socket, "getaddrinfo", changing)
    with running() as elsewhere:
        elsewhere.models = hub.models
        at = f"http://files.example:{urlsplit(elsewhere.url).port}"
        path = f"/org/model/resolve/main/{WEIGHTS}"
        hub.fail(WEIGHTS, Fault(302, {"Location": at + path}))
        with pytest.raises(DownloadFailed, match="an address within a network of this machine"):
            await fetched(downloads)
        assert elsewhere.asked == []


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
