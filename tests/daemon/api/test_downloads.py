"""Downloads, search and the Hub's cache through a real daemon, which is killed on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastmlx.daemon.cli import main
from folders import write_model
from hub import Fault, SmallHub, environment, small_hub
from live import LiveDaemon

WEIGHTS = "model.safetensors"


class Place(NamedTuple):
    folder: Path  # of everything; the Hub's cache is below it
    hub: SmallHub
    daemon: LiveDaemon

    @property
    def config(self) -> str:
        return f"discover: [huggingface, {self.folder}/mine]\nmodels: {{}}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("downloads")
    with small_hub(folder / "source") as hub:
        daemon = LiveDaemon(folder / "home", environment=environment(hub.url, folder / "cache"))
        place = Place(folder, hub, daemon)
        daemon.edit_config(place.config)
        with daemon:
            yield place


@pytest.fixture
def hub(place: Place) -> Iterator[SmallHub]:
    hub = place.hub
    yield hub
    for each in (hub.faults, hub.claims, hub.tags, hub.gated, hub.asked):
        each.clear()
    for id in set(hub.models) - {"org/model"}:
        del hub.models[id]


@pytest.fixture
def daemon(place: Place) -> Iterator[LiveDaemon]:
    """It has fetched nothing, and declares nothing."""
    daemon = place.daemon
    yield daemon
    if not daemon.runs:
        daemon.start()
    with daemon.http() as http:
        for download in http.get("/api/downloads").json()["downloads"]:
            press(daemon, download["id"], "cancel")
        if daemon.config_file.read_text() != place.config:
            daemon.edit_config(place.config)
            address = "/api/hub/models/org/model"
            daemon.wait_until(lambda: not http.get(address).json().get("declared"))

        def emptied() -> bool:  # a download that is just being cancelled holds its model
            http.delete("/api/hub/models/org/model")
            return http.get("/api/hub/models").json() == {"models": []}

        daemon.wait_until(emptied, 30)
        assert http.get("/api/downloads").json() == {"downloads": []}


def held(hub: SmallHub, after: int = 100_000) -> threading.Event:
    """The weights stop after so many bytes, until the event is set."""
    go_on = threading.Event()
    hub.fail(WEIGHTS, Fault(after=after, until=go_on))
    return go_on


def started(daemon: LiveDaemon, id: str = "org/model") -> dict[str, Any]:
    answer = httpx.post(f"{daemon.url}/api/downloads", json={"id": id}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def one(daemon: LiveDaemon, id: str) -> dict[str, Any]:
    return httpx.get(f"{daemon.url}/api/downloads/{id}", timeout=60).json()


def press(daemon: LiveDaemon, id: str, what: str) -> httpx.Response:
    return httpx.post(f"{daemon.url}/api/downloads/{id}/{what}", timeout=60)


def assert_whole(hub: SmallHub, folder: str) -> None:
    for name in ("config.json", "chat_template.jinja", WEIGHTS):
        assert (Path(folder) / name).read_bytes() == hub.models["org/model"][name]


def test_a_download_survives_kill_9_of_the_daemon(hub: SmallHub, daemon: LiveDaemon):
    go_on = held(hub)
    download = started(daemon)
    assert download["state"] in ("queued", "running")
    daemon.wait_until(lambda: one(daemon, download["id"])["done_bytes"] >= 100_000)
    daemon.kill()
    go_on.set()
    hub.asked.clear()
    daemon.start()
    daemon.wait_until(lambda: one(daemon, download["id"])["state"] == "done", 60)
    ended = one(daemon, download["id"])
    assert_whole(hub, ended["folder"])
    assert ended["done_bytes"] == ended["total_bytes"]
    # Not a byte that had been written was asked for again.
    (weights,) = [each for each in hub.asked if each.name == WEIGHTS]
    assert weights.range is not None
    assert int(weights.range[6:-1]) >= 65_536


def test_pause_resume_cancel(hub: SmallHub, daemon: LiveDaemon, place: Place):
    go_on = held(hub)
    id = started(daemon)["id"]
    daemon.wait_until(lambda: one(daemon, id)["done_bytes"] >= 100_000)
    assert press(daemon, id, "pause").json()["state"] == "paused"
    go_on.set()
    assert press(daemon, id, "pause").status_code == 409
    assert daemon.stop() == 0
    daemon.start()
    assert one(daemon, id)["state"] == "paused"
    assert press(daemon, id, "resume").json()["state"] in ("queued", "running")
    daemon.wait_until(lambda: one(daemon, id)["state"] == "done", 60)
    assert press(daemon, id, "resume").status_code == 409
    assert press(daemon, id, "cancel").json()["state"] == "cancelled"
    assert press(daemon, id, "cancel").status_code == 404
    assert_whole(hub, str(next((place.folder / "cache").glob("models--org--model/snapshots/*"))))


def test_errors_have_a_status_and_a_sentence(hub: SmallHub, daemon: LiveDaemon):
    hub.add("org/gated", daemon.home / "gated")
    hub.gated.add("org/gated")
    hub.add("org/huge", daemon.home / "huge")
    hub.models["org/huge"]["big.json"] = b"x"
    hub.claims["big.json"] = 1 << 60
    with daemon.http() as http:
        for id, status, code in (
            ("org/nobody", 404, "model_not_found"),
            ("org/gated", 403, "forbidden"),
            ("org/huge", 507, "disk_full"),
            ("nonsense", 404, "model_not_found"),
            ("a b", 400, "invalid_request"),
        ):
            answer = http.post("/api/downloads", json={"id": id})
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert http.post("/api/downloads", json={}).status_code == 400
        assert http.get("/api/downloads").json() == {"downloads": []}


def test_search_says_what_fits_and_what_is_here(hub: SmallHub, daemon: LiveDaemon):
    hub.add("org/plain", daemon.home / "plain")
    hub.tags["org/plain"] = ["safetensors"]
    with daemon.http() as http:
        found = http.get("/api/hub/search?q=org").json()
        (result,) = found["results"]
        assert (result["id"], result["license"], result["downloads"]) == (
            "org/model",
            "apache-2.0",
            12_345,
        )
        assert result["weights_bytes"] == len(hub.models["org/model"][WEIGHTS]) // 2 * 2
        assert (result["fits_disk"], result["fits_memory"], result["here"]) == (True, True, False)
        assert found["disk_free_bytes"] > 0
        more = http.get("/api/hub/search?format=safetensors&sort=likes&limit=1").json()
        assert len(more["results"]) == 1
        for wrong in ("format=gguf", "sort=size", "limit=0", "limit=x"):
            assert http.get(f"/api/hub/search?{wrong}").status_code == 400
        started(daemon)
        daemon.wait_until(lambda: http.get("/api/hub/search").json()["results"][0]["here"], 60)


def test_a_model_that_is_declared_is_deleted_only_when_that_is_confirmed(
    hub: SmallHub, daemon: LiveDaemon
):
    id = started(daemon)["id"]
    daemon.wait_until(lambda: one(daemon, id)["state"] == "done", 60)
    daemon.edit_config("models: {mine: {path: org/model}}\n")
    with daemon.http() as http:
        address = "/api/hub/models/org/model"
        daemon.wait_until(lambda: http.get(address).json()["declared"] == ["mine"])
        size = http.get("/api/hub/models").json()["models"][0]["size_bytes"]
        refused = http.delete(address)
        assert refused.status_code == 409
        assert "mine" in refused.json()["error"]["message"]
        freed = http.delete(address, params={"confirm": "true"})
        assert freed.json()["freed_bytes"] == size > 300_000
        assert http.get("/api/hub/models").json() == {"models": []}
        assert http.delete(address).status_code == 404
    gone = daemon.model("mine")
    assert (gone["state"], "is not on this machine" in gone["error"]) == ("failed", True)
    started(daemon)  # and is there again without a further word
    daemon.wait_until(lambda: daemon.model("mine")["state"] == "stopped", 60)


def test_what_is_being_fetched_is_not_deleted(hub: SmallHub, daemon: LiveDaemon):
    go_on = held(hub)
    id = started(daemon)["id"]
    daemon.wait_until(lambda: one(daemon, id)["done_bytes"] >= 100_000)
    with daemon.http() as http:
        refused = http.delete("/api/hub/models/org/model?confirm=true")
        assert refused.status_code == 409
        assert "cancel it first" in refused.json()["error"]["message"]
    go_on.set()


def test_discovered_says_what_could_be_added(daemon: LiveDaemon, place: Place):
    write_model(place.folder / "mine/One", weights_bytes=5000)
    found = httpx.get(f"{daemon.url}/api/discovered", timeout=60).json()
    (candidate,) = found["candidates"]
    assert (candidate["name"], candidate["fits"], candidate["declared"]) == ("one", True, None)


def test_pull_goes_through_the_daemon_that_runs_and_else_does_it_itself(
    hub: SmallHub,
    daemon: LiveDaemon,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("FASTMLX_HOME", str(daemon.home))
    assert main(["pull", "org/model"]) == 0
    folder = capsys.readouterr().out.strip()
    assert_whole(hub, folder)
    (download,) = httpx.get(f"{daemon.url}/api/downloads", timeout=60).json()["downloads"]
    assert (download["state"], download["folder"]) == ("done", folder)
    assert main(["pull", "org/nobody"]) == 1
    assert "There is no model org/nobody" in capsys.readouterr().err
    daemon.stop()

    from hub import use

    use(hub.url, tmp_path / "other", monkeypatch.setattr)
    hub.fail(WEIGHTS, Fault(after=1000))
    assert main(["pull", "org/model", "--revision", "main"]) == 0
    folder = capsys.readouterr().out.strip()
    assert folder.startswith(str(tmp_path / "other"))
    assert_whole(hub, folder)
    assert main(["pull", "org/nobody"]) == 1
    assert "There is no model org/nobody" in capsys.readouterr().err
