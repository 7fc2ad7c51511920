"""Walks over Benchmarks, Cache, Requests, Usage and Logs."""

from __future__ import annotations

import json
import re

from playwright.sync_api import expect

from .walk import Ground, Walk


def benchmarks(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/benchmarks")

    def run(answer: int) -> None:
        for label, value in (("Prompt", "8"), ("Output", str(answer)), ("Rounds", "1")):
            page.get_by_label(label).fill(value)
        page.get_by_label("Requests at once").fill("1")
        walk.press("Run")

    kept = page.locator("main button", has_text="Delete")
    for number in (1, 2):
        run(2)
        walk.until(lambda number=number: kept.count() == number, reload=True)
    page.get_by_label("first: tiny").first.check()
    page.get_by_label("second: tiny").last.check()
    walk.press("Compare")
    expect(page.locator("main")).to_contain_text("ratio")
    walk.judge()
    run(500_000)
    walk.press(page.locator("#cancel-bench"))
    walk.see("#progress", "was cancelled")
    for left in (1, 0):
        walk.press(kept.first)
        expect(kept).to_have_count(left)


def cache(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/cache")
    walk.press(page.get_by_role("link", name="last 24 hours"))
    expect(page).to_have_url(re.compile("range=24h"))
    for button in ("Clear tiny", "Clear everything"):
        with ground.front.openai() as client:
            client.completions.create(model="tiny", prompt="Once upon a time " * 20, max_tokens=2)
        walk.see("main", "Once upon")
        walk.judge()
        walk.press(button)
        walk.see("main", "Nothing yet.")


def requests_and_usage(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/requests")
    walk.judge()
    page.get_by_role("link", name="Older").click()
    expect(page.locator("main")).to_contain_text("row-59")
    page.get_by_label("Result").select_option("error")
    page.get_by_label("Id begins with").fill("row-")
    walk.press("Show")
    expect(page.locator("table.requests tbody")).to_have_count(1)
    page.get_by_role("link", name="row-0").click()
    expect(page.locator("main")).to_contain_text("prefill")
    walk.judge()
    page.get_by_role("link", name="its lines in the log").click()
    expect(page.get_by_label("Request id")).to_have_value("row-0")

    walk.go("/admin/usage")
    for link in ("12 weeks", "by Key"):
        walk.press(page.get_by_role("link", name=link))
    expect(page).to_have_url(re.compile("range=12w&by=key"))
    walk.judge()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "tiny" in download.value.path().read_text()
    walk.visited.add("/admin/usage.csv")


def logs(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/logs")
    walk.judge()
    words = f"a new line, {'with' if walk.scripts else 'without'} scripts"
    page.get_by_label("Level").select_option("error")
    page.get_by_label("Text").fill(words)
    walk.press("Show")
    expect(page.locator("main")).to_contain_text("No such entries.")
    for message in (words, f"by itself: {words}"):
        with (ground.front.home / "logs" / "fastmlx.log").open("a") as file:
            entry = {"time": "", "level": "error", "logger": "x", "message": message}
            file.write(json.dumps(entry) + "\n")
        walk.see(".log", message)
