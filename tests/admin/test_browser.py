"""The pages as people use them: a real browser on a real daemon, with JavaScript and without."""

from __future__ import annotations

import re
from pathlib import Path

from live import LiveDaemon
from playwright.sync_api import Browser, Page, expect

from .conftest import NewPage


def row(page: Page, model: str):
    return page.locator("table.models tbody").filter(has=page.locator(f".title:text-is('{model}')"))


def test_what_others_do_shows_by_itself(open_page: NewPage, front: LiveDaemon) -> None:
    page = open_page()
    requests = open_page("/admin/requests")
    with front.openai() as client:
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=8
        )
    expect(row(page, "tiny").locator(".state")).to_have_text("ready")
    expect(page.locator("figure.plot")).to_have_count(3)
    expect(requests.locator("table.requests .title").first).to_contain_text("tiny")


def test_a_broken_edit_is_announced_and_taken_back(
    open_page: NewPage, front: LiveDaemon, admin_config: str
) -> None:
    page = open_page("/admin/config")
    front.edit_config(admin_config + "nonsense: 1\n")
    alert = page.get_by_role("alert").filter(has_text="config.yaml has an error")
    expect(alert).to_be_visible()
    expect(page.locator("#error")).to_contain_text("nonsense")
    front.edit_config(admin_config)
    expect(alert).to_have_count(0)
    expect(page.locator("#error")).to_have_count(0)


def test_everything_can_be_reached_and_pressed_by_keyboard(open_page: NewPage) -> None:
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    button = page.get_by_role("button", name=re.compile("(Load|Try again) gone"))
    button.focus()
    page.keyboard.press("Enter")
    expect(row(page, "gone").locator(".state")).to_have_text("failed")
    # The row was replaced under the keyboard; the focus stays where it was.
    expect(page.get_by_role("button", name="Try again gone")).to_be_focused()


def test_a_page_that_nobody_sees_asks_nothing(open_page: NewPage) -> None:
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    hide = """hidden => {
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(300)  # what was under way
    asked.clear()
    page.wait_for_timeout(4500)
    assert asked == []
    page.evaluate(hide, False)
    page.wait_for_timeout(1000)
    assert len(asked) >= 4


def test_text_that_is_being_selected_stays(open_page: NewPage, front: LiveDaemon) -> None:
    page = open_page("/admin/logs")
    page.locator(".log li").last.evaluate(
        "line => { getSelection().selectAllChildren(line); line.id = 'mine' }"
    )
    with (front.home / "logs" / "fastmlx.log").open("a") as file:
        file.write("2026-11-21 14:00:00,000 INFO x: a new line\n")
    page.wait_for_timeout(3000)
    expect(page.locator("#mine")).to_be_visible()
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator(".log")).to_contain_text("a new line")


def test_a_page_says_that_the_daemon_is_gone_and_recovers_when_it_is_back(
    browser: Browser, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with LiveDaemon(home, "models: {}\n") as first:
        port = first.url.rsplit(":", 1)[1]
        page = browser.new_page()
        page.goto(first.url + "/admin/")
    notice = page.get_by_text("fastmlx does not answer.")
    expect(notice).to_be_visible()
    with LiveDaemon(home, arguments=("--port", port)):
        expect(notice).to_be_hidden(timeout=10_000)
        page.close()
