"""Every page and every action of the dashboard, in Chromium on one daemon: with scripts, and again
without. An action that a page offers and that nobody walks here fails the last test."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmlx.admin.nav import PAGES
from fastmlx.daemon.store.database import Database
from fastmlx.daemon.store.rows import UsageRow
from fastmlx.launchd.runner import Completed
from hub import SmallHub, environment, small_hub
from live import LiveDaemon
from playwright.sync_api import Browser, expect
from user_session import UserSession, why_not

from . import walk_activity, walk_models, walk_setup
from .walk import PHONE, ROUTES, WINDOW, Ground, Walk

# Headings of the page as it was sent, those that are shown, and the bytes of a first visit.
SENT_AND_SHOWN = """async () => {
  const text = await (await fetch(location.href)).text();
  const sent = new DOMParser().parseFromString(text, "text/html");
  const headings = of => [...of.querySelectorAll("h1, h2")].map(each => each.textContent.trim());
  const files = ["navigation", "resource"].flatMap(kind => performance.getEntriesByType(kind));
  const first = files.filter(each => !["fetch", "xmlhttprequest"].includes(each.initiatorType));
  const weight = first.reduce((sum, each) => sum + each.encodedBodySize, 0);
  return [headings(sent), headings(document), weight];
}"""
WAYS = (
    walk_models.overview,
    walk_models.models,
    walk_models.hub,
    walk_models.chat,
    walk_activity.benchmarks,
    walk_activity.cache,
    walk_activity.requests_and_usage,
    walk_activity.logs,
    walk_setup.mcp,
    walk_setup.settings,
    walk_setup.config,
    walk_setup.keys,
    walk_setup.the_password,
    walk_setup.service,
)
CONFIG = """\
# on top
memory:
  limit: 50%   # half of it
discover: [{found}]
models:
  tiny:
    path: {endless}
    max_concurrent: 1
  gone:
    path: /nonexistent/<b>folder</b>
"""
MCP_SERVER = {
    "command": sys.executable,
    "args": [str(Path(__file__).parents[1] / "mcp_server.py")],
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallHub]:
    with small_hub(tmp_path_factory.mktemp("source") / "model") as hub:
        yield hub


@pytest.fixture(scope="module")
def ground(
    tmp_path_factory: pytest.TempPathFactory,
    browser: Browser,
    hub: SmallHub,
    tiny_model: Callable[..., Path],
) -> Iterator[Ground]:
    llama = tiny_model("llama")
    endless = tiny_model("qwen3", endless=True, max_position_embeddings=2_000_000)
    config = CONFIG.format(found=llama.parent, endless=endless)
    home = tmp_path_factory.mktemp("walk")
    (home / "mcp.json").write_text(json.dumps({"mcpServers": {"sums": MCP_SERVER}}))
    database = Database(home / "fastmlx.db")
    database.write(list(rows()))
    database.close()
    told = environment(hub.url, home / "hub")
    with LiveDaemon(home, config, environment=told) as front:
        yield Ground(front, hub, config, llama, browser)


def rows() -> Iterator[UsageRow]:
    """What was asked in the last hour."""
    now_ms = int(time.time() * 1000)
    for i in range(60):
        yield UsageRow(
            at_ms=now_ms - 60_000 * i,
            request_id=f"row-{i}",
            model="tiny",
            dialect="x",
            prompt_tokens=9,
            output_tokens=9,
            load_ms=9.0,
            queue_ms=10.0,
            ttft_ms=90.0,
            duration_ms=900.0,
            error=None if i else "engine_died: twice",
        )


@pytest.fixture(scope="module", params=[True, False], ids=["scripts", "plain"])
def walk(request: pytest.FixtureRequest, ground: Ground) -> Iterator[Walk]:
    scripts: bool = request.param
    with ground.browser.new_context(java_script_enabled=scripts, viewport=WINDOW) as context:
        yield Walk(context, ground.front, scripts=scripts)


@pytest.fixture(autouse=True)
def nothing_is_warned_of(walk: Walk) -> Iterator[None]:
    yield
    said, walk.said = walk.said, []
    assert said == []


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_walk_presses_every_button(
    walk: Walk, ground: Ground, way: Callable[[Walk, Ground], None]
) -> None:
    way(walk, ground)
    ground.restore()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Of a daemon in a systemd session; see `tests/user_session.py`."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.yaml").write_text("server: {port: 0, drain_timeout: 1s}\nmodels: {}\n")
    return home


def test_the_service_is_installed_and_uninstalled(
    walk: Walk, fastmlx: Callable[..., Completed], session: UserSession, home: Path
) -> None:
    def until(done: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while not done(now := json.loads(fastmlx("status", "--json").output)):
            assert time.monotonic() < deadline, now
            time.sleep(0.2)
        return now

    by_hand = f"exec {sys.executable} -m fastmlx.daemon serve --home {home}"
    session(["sh", "-c", f"({by_hand}) >/dev/null 2>&1 </dev/null &"])
    begun = until(lambda now: now["running"])
    page = walk.go(f"{begun['url']}/admin/service")
    walk.press("Install")
    expect(page.get_by_role("heading", name="Installing")).to_be_visible()
    page.goto("about:blank")  # nothing answers this one any more
    kept = until(lambda now: now["running"] and now["service"]["running"])
    assert kept["service"]["pid"] == kept["pid"] != begun["pid"]
    walk.go(f"{kept['url']}/admin/service")
    expect(page.locator("main")).to_contain_text("kept alive by systemd")
    page.get_by_text("What it runs", exact=True).click()
    expect(page.locator("pre")).to_contain_text("ExecStart=")
    page.locator("summary", has_text="Uninstall").click()
    walk.judge()
    walk.press("Uninstall")
    expect(page.get_by_role("heading", name="Uninstalling")).to_be_visible()
    page.goto("about:blank")
    until(lambda now: not now["running"] and not now["service"]["installed"])
    assert not (session.units / "fastmlx.service").exists()


def test_every_page_is_small_and_says_the_same_without_scripts(walk: Walk) -> None:
    for entry in PAGES:
        page = walk.go(entry.address)
        expect(page.locator("nav [aria-current=page]")).to_have_text(entry.name)
        if walk.scripts:
            sent, shown, weight = page.evaluate(SENT_AND_SHOWN)
            assert sent == shown
            assert weight <= 150_000
    walk.go("/admin/nothing")
    walk.judge()


def test_the_menu_of_a_phone_leads_to_every_page(walk: Walk) -> None:
    page = walk.go("/admin/")
    page.set_viewport_size(PHONE)
    link = page.get_by_role("link", name="Config", exact=True)
    expect(link).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    for entry in PAGES:
        found = page.get_by_role("navigation").get_by_role("link", name=entry.name, exact=True)
        expect(found).to_be_visible()
    link.click()
    expect(page).to_have_url(re.compile("/admin/config$"))
    page.set_viewport_size(WINDOW)


def test_no_action_and_no_page_was_left_out(walk: Walk, request: pytest.FixtureRequest) -> None:
    chosen = [item for item in request.session.items if item.path == request.path]
    if len(chosen) < 2 * (len(WAYS) + 4):
        pytest.skip("only some walks were chosen")
    assert walk.offered - walk.pressed == set()
    taken = [action.address for action in walk.pressed if action.method == "post"]
    posts = [route for route in ROUTES if route.method == "POST"]
    left = {each.address for each in posts if not any(map(each.shape.fullmatch, taken))}
    only_a_service = {"/admin/service/install", "/admin/service/uninstall"}
    assert left <= (only_a_service if why_not() else set())
    unseen = {"/admin/static/<name:str>", "/admin/chat/<chat:str>/events"}
    pages = {route.address for route in ROUTES if route.method == "GET"} - unseen
    assert pages - walk.visited == set()
    if walk.scripts:
        downloads = {address for address in pages if re.search(r"\.\w+$", address)}
        assert pages - downloads - walk.judged == set()
