"""`/admin/hub`: search, downloads and the cache, in a browser with JavaScript and without."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hub import Fault, SmallHub, environment, small_hub
from live import LiveDaemon
from playwright.sync_api import Page, expect

from .conftest import NewPage

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


@pytest.fixture(autouse=True)
def nothing_is_here(front: LiveDaemon, hub: SmallHub) -> Iterator[None]:
    """Each test begins with an empty cache and no downloads."""
    yield
    for faults in hub.faults.values():
        faults.clear()
    with front.http() as http:
        for each in http.get("/api/downloads").json()["downloads"]:
            http.post(f"/api/downloads/{each['id']}/cancel")
        for each in http.get("/api/hub/models").json()["models"]:
            http.delete(f"/api/hub/models/{each['id']}?confirm=true")
    front.edit_config("models: {}\n")
    front.wait_until(lambda: front.status()["models"] == [])


def held(hub: SmallHub) -> threading.Event:
    go_on = threading.Event()
    hub.fail(WEIGHTS, Fault(after=100_000, until=go_on))
    return go_on


def section(page: Page, title: str):
    return page.locator("section").filter(has=page.get_by_role("heading", name=title, exact=True))


def shown(page: Page, locator: str, text: str | re.Pattern[str], *, scripts: bool) -> None:
    """By itself, or after reloading for those who have no scripts."""
    if scripts:
        expect(page.locator(locator).first).to_have_text(text, timeout=30_000)
        return
    for _ in range(60):
        found = page.locator(locator)
        if found.count() and re.fullmatch(text, found.first.inner_text()):
            return
        page.wait_for_timeout(300)
        page.goto(page.url.partition("#")[0])
    pytest.fail(f"{locator} never was {text}: {page.locator('main').inner_text()}")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_model_is_found_fetched_paused_resumed_added_and_deleted(
    open_page: NewPage, hub: SmallHub, front: LiveDaemon, scripts: bool
):
    go_on = held(hub)
    page = open_page("/admin/hub", java_script_enabled=scripts)
    expect(section(page, "Downloads")).to_contain_text("Nothing is being fetched.")
    page.get_by_label("Words in the name").fill("model")
    page.get_by_role("button", name="Search").click()
    results = section(page, "Search").locator("tbody")
    expect(results).to_have_count(1)
    expect(results).to_contain_text("apache-2.0")
    expect(results).to_contain_text("yes")
    page.get_by_role("button", name="Download org/model").click()
    state = "#downloads .state"
    shown(page, state, "running", scripts=scripts)
    page.get_by_role("button", name="Pause org/model").click()
    shown(page, state, "paused", scripts=scripts)
    go_on.set()
    page.get_by_role("button", name="Resume org/model").click()
    shown(page, state, "done", scripts=scripts)
    page.get_by_role("button", name="Add to models org/model").click()
    expect(page).to_have_url(re.compile("/admin/models/model$"))
    assert "path: org/model" in (front.home / "config.yaml").read_text()

    page.goto(front.url + "/admin/hub")
    page.get_by_role("button", name="Dismiss org/model").click()
    expect(section(page, "Downloads")).to_contain_text("Nothing is being fetched.")
    disk = section(page, "On this machine")
    expect(disk.get_by_role("link", name="model", exact=True)).to_be_visible()
    disk.get_by_role("link", name="Delete org/model", exact=True).click()
    expect(page.locator("main")).to_contain_text("model in config.yaml uses it.")
    page.get_by_role("button", name="Delete").click()
    expect(section(page, "On this machine")).to_contain_text("The Hub's cache is empty.")


def test_a_download_that_runs_is_shown_to_everybody_and_can_be_cancelled(
    open_page: NewPage, hub: SmallHub, front: LiveDaemon
):
    go_on = held(hub)
    with front.http() as http:
        http.post("/api/downloads", json={"id": "org/model"})
    page = open_page("/admin/hub")
    expect(page.locator("#downloads progress")).to_have_count(1)
    assert page.locator("#downloads").get_attribute("hx-trigger") == "every 1s, look"
    go_on.set()
    cancel = page.locator("#downloads [id^=cancel-]")  # it may be done meanwhile
    cancel.click()
    expect(section(page, "Downloads")).to_contain_text("Nothing is being fetched.")
    assert page.locator("#downloads").get_attribute("hx-trigger") == "every 10s, look"


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


def test_a_hub_that_cannot_be_reached_is_said_and_nothing_else_suffers(
    tmp_path: Path,
):
    told = environment("http://127.0.0.1:9", tmp_path / "cache")
    with (
        LiveDaemon(tmp_path / "home", "models: {}\n", environment=told) as daemon,
        daemon.http() as http,
    ):
        assert 'role="alert"' not in http.get("/admin/hub").text.split("Search", 1)[1]
        page = http.get("/admin/hub?q=qwen")
        assert page.status_code == 200
        assert "could not be fetched" in page.text
        assert "The Hub&#39;s cache is empty." in page.text or "The Hub's cache" in page.text
