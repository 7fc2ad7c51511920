"""Every page of the navigation keeps what all pages promise: no serious fault by axe-core, the
width of a phone, both colour schemes, a small weight, the same content without JavaScript."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import axe_playwright_python
import msgspec
import pytest
from fastmlx.admin.nav import PAGES
from fastmlx.daemon.store.database import Database
from fastmlx.daemon.store.rows import UsageRow
from live import LiveDaemon
from playwright.sync_api import Page, ViewportSize, expect

from .conftest import NewPage

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
MOST_BYTES = 150_000
PHONE: ViewportSize = {"width": 390, "height": 844}
BELOW = [
    "/admin/requests/request-1",
    *(f"/admin/models/{page}" for page in ("tiny", "gone", "tiny/edit", "tiny/remove")),
    *("/admin/add-model", "/admin/add-model?path=/some/folder"),
]
ADDRESSES = [entry.address for entry in PAGES] + BELOW


@pytest.fixture(scope="module", autouse=True)
def traffic(front: LiveDaemon) -> None:
    """Pages with something on them: an answer, an error, a loaded model."""
    messages = [{"role": "user", "content": "Hello"}]
    with front.http() as http:
        for model in ("tiny", "gone"):
            body = {"model": model, "messages": messages, "max_tokens": 4}
            http.post("/v1/chat/completions", json=body)
        database = Database(front.home / "fastmlx.db")
        times: dict[str, Any] = {
            "load_ms": 9.0,
            "queue_ms": 10.0,
            "ttft_ms": 90.0,
            "duration_ms": 900.0,
        }
        now_ms = int(time.time() * 1000)
        row = UsageRow(at_ms=now_ms, request_id="request-1", model="tiny", dialect="x", **times)
        database.write([row, msgspec.structs.replace(row, at_ms=now_ms + 2000)])
        database.close()
        front.wait_until(lambda: ">gone<" in http.get("/admin/requests").text, 30)


def faults(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]} {node['failureSummary'][:300]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("path", ADDRESSES)
def test_a_page_is_light_readable_by_all_and_fits_a_phone(open_page: NewPage, path: str) -> None:
    page = open_page("/admin/nothing", quiet=False)
    said: list[str] = []
    page.on(
        "console",
        lambda message: said.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: said.append(str(error)))
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.setCacheDisabled", {"cacheDisabled": True})
    sizes: list[float] = []
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(page.url.replace("/admin/nothing", path))
    page.wait_for_load_state("load")
    assert 0 < sum(sizes) <= MOST_BYTES
    expect(page.locator("nav [aria-current=page]")).to_have_count(1)
    assert faults(page) == []
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert faults(page) == []
    assert said == []  # no rule of the page's policy was broken


@pytest.mark.parametrize("path", ADDRESSES)
def test_without_javascript_the_page_has_the_same_sections(open_page: NewPage, path: str) -> None:
    with_scripts = open_page(path)
    without = open_page(path, java_script_enabled=False)
    assert without.locator("h1").count() == 1
    headings = "h1, h2"
    assert (
        without.locator(headings).all_inner_texts()
        == with_scripts.locator(headings).all_inner_texts()
    )
    for form in without.locator("form").all():
        assert form.get_attribute("action"), "a form that only a script can send"


@pytest.mark.parametrize("scripts", [True, False])
def test_the_menu_of_a_phone_leads_to_every_page(open_page: NewPage, scripts: bool) -> None:
    page = open_page(viewport=PHONE, java_script_enabled=scripts)
    link = page.get_by_role("link", name="Config", exact=True)
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    for entry in PAGES:
        found = page.get_by_role("navigation").get_by_role("link", name=entry.name, exact=True)
        expect(found).to_be_visible()
    link.click()
    expect(page).to_have_url(page.url.split("/admin/")[0] + "/admin/config")
