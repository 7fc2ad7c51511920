"""`/admin/hub`: what it refuses, and what goes wrong; `test_walk` has its buttons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hub import Fault, SmallHub, environment, small_hub
from live import LiveDaemon

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallHub]:
    with small_hub(tmp_path_factory.mktemp("source") / "model") as hub:
        yield hub


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, hub: SmallHub) -> Iterator[LiveDaemon]:
    folder = tmp_path_factory.mktemp("hubpage")
    told = environment(hub.url, folder / "cache")
    with LiveDaemon(folder / "home", "models: {}\n", environment=told) as running:
        yield running


def test_what_goes_wrong_is_said_on_a_page(front: LiveDaemon, hub: SmallHub, tmp_path: Path):
    hub.add("org/<b>gated</b>", tmp_path / "gated")
    hub.models["org/gated"] = hub.models.pop("org/<b>gated</b>")
    hub.gated.add("org/gated")
    hub.fail(WEIGHTS, Fault(status=404, headers={"X-Error-Code": "EntryNotFound"}))
    with front.http() as http:
        for data, status, words in (
            ({"id": "org/gated"}, 403, "ask for access"),
            ({"id": "<i>nobody</i>"}, 400, "&lt;i&gt;nobody"),
            ({}, 400, "is not a Hub id"),
        ):
            answer = http.post("/admin/hub/download", data=data)
            assert (answer.status_code, words in answer.text) == (status, True)
        started = http.post("/admin/hub/download", data={"id": "org/model"})
        assert (started.status_code, started.headers["location"]) == (
            303,
            "/admin/hub#downloads-title",
        )
        front.wait_until(lambda: "status 404" in http.get("/admin/hub").text, 30)
        assert "Resume" in http.get("/admin/hub").text
        assert http.get("/admin/hub/delete?id=org/nobody").status_code == 404
        unconfirmed = http.post("/admin/hub/delete", data={"id": "org/nobody"})
        assert unconfirmed.status_code == 404
        assert http.post("/admin/hub/downloads/x/pause").status_code == 404
        assert http.post("/admin/hub/downloads/x/dance").status_code == 400
    del hub.models["org/gated"]


def test_only_our_own_pages_may_press_and_a_get_changes_nothing(http: httpx.Client):
    for path in ("download", "add", "delete", "downloads/x/cancel"):
        foreign = http.post(f"/admin/hub/{path}", headers={"origin": "https://elsewhere.example"})
        assert foreign.status_code == 403
        assert http.get(f"/admin/hub/{path}").status_code in (404, 405)
