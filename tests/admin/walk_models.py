"""Walks over Overview, Models, Hub and Chat."""

from __future__ import annotations

import re
import threading

import httpx
from fastmlx.config.edit import written
from hub import Fault
from live import LiveDaemon
from pdf import pdf
from playwright.sync_api import expect

from .walk import Ground, Walk

WEIGHTS = "model.safetensors"


class Asking(threading.Thread):
    """A request that ends when somebody cancels it."""

    def __init__(self, front: LiveDaemon, **fields: object) -> None:
        super().__init__(daemon=True)
        self._front = front
        asked = {"model": "tiny", "prompt": "a", "max_tokens": 1_000_000, "ignore_eos": True}
        self._body = asked | fields
        self._answers: list[httpx.Response] = []
        self.start()

    def run(self) -> None:
        with self._front.http() as http:
            self._answers.append(http.post("/v1/completions", json=self._body))

    def end(self) -> httpx.Response:
        self.join(30)
        return self._answers[0]


def overview(walk: Walk, ground: Ground) -> None:
    with ground.front.http() as http:
        http.post("/admin/models/tiny/unload")  # whatever was walked before
    page = walk.go("/admin/")
    walk.see(walk.row("tiny").locator(".state"), "stopped")
    page.evaluate("window.same = true")
    walk.press("Load tiny")
    walk.see(walk.row("tiny").locator(".state"), "ready")
    first = Asking(ground.front)
    walk.see("#running .state", "decode")
    second = Asking(ground.front, stream=True)
    walk.see("#running", "next in the queue")
    walk.judge()
    walk.press(page.locator("table.running tbody").nth(1).get_by_role("button"))
    assert '"code":"cancelled"' in second.end().text.replace(" ", "")
    cancel = page.locator("table.running").get_by_role("button")
    walk.until(lambda: cancel.count() == 1)
    assert page.evaluate("window.same") or not walk.scripts  # no page was loaded for a click
    request = cancel.inner_text().split()[2]
    walk.go(f"/admin/requests/{request}")
    walk.press("Cancel")
    answer = first.end()
    assert answer.status_code == 499
    assert answer.json()["error"]["message"] == "The request was cancelled on the dashboard."
    walk.see("#running", "No requests are running.")
    for link in ("last 7 days", "Table"):
        walk.press(page.get_by_role("link", name=link))
        expect(page.get_by_role("link", name=link)).to_have_attribute("aria-current", "true")
    assert "range=7d&view=table" in page.url
    walk.press("Unload tiny")
    walk.see(walk.row("tiny").locator(".state"), "stopped")


def models(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/models")
    walk.press(walk.row("gone").locator("button.load"))  # it may have been tried already
    walk.see(walk.row("gone"), "does not exist")
    walk.judge()
    page.get_by_role("link", name="Add a model").click()
    expect(page.locator("main")).to_contain_text("tiny-llama")
    walk.judge()
    page.get_by_label("Folder, or id on the Hub").fill(str(ground.llama))
    walk.press("Continue")
    page.get_by_label("name", exact=True).fill("new.one")
    page.get_by_label("temperature").fill("-3")
    walk.press("Add")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was saved")
    expect(page.locator(".field.wrong")).to_contain_text("must be at least 0")
    walk.judge()
    page.get_by_label("temperature").fill("0.5")
    page.get_by_label("aliases").fill("first\nsecond: 2")
    walk.press("Add")
    expect(page).to_have_url(re.compile("/admin/models/new.one$"))
    entry = {"path": str(ground.llama), "aliases": ["first", "second: 2"]}
    now = ground.front.config_file.read_text
    assert written(now())["models"]["new.one"] == entry | {"sampling": {"temperature": 0.5}}
    assert now().startswith(ground.config)

    walk.press("Load")
    walk.see("#now .state", "ready")
    for said in ("llama", "requests of any lengths run together", "fits", "4,096"):
        walk.see("main", said)
    walk.judge()
    walk.press("Pin")
    walk.see("#now", "pinned")
    walk.press("Unload")
    walk.see("#now .state", "stopped")

    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_label("system_prompt").fill("Be brief.\nBe kind.")
    page.get_by_label("name", exact=True).fill("newer")
    walk.judge()
    walk.press("Save")
    expect(page).to_have_url(re.compile("/admin/models/newer$"))
    assert written(now())["models"]["newer"]["system_prompt"] == "Be brief.\nBe kind."
    walk.go("/admin/models")
    walk.press("Unpin newer")
    walk.see(walk.row("newer"), "Pin newer")
    walk.row("newer").get_by_role("link", name="Remove").click()
    expect(page.locator("pre")).to_contain_text("Be kind.")
    walk.judge()
    walk.press("Remove")
    expect(page).to_have_url(re.compile("/admin/models$"))
    assert now() == ground.config


def hub(walk: Walk, ground: Ground) -> None:
    go_on = threading.Event()
    ground.hub.fail(WEIGHTS, Fault(after=100_000, until=go_on))
    page = walk.go("/admin/hub")
    page.get_by_label("Words in the name").fill("model")
    walk.press("Search")
    expect(walk.row("org/model")).to_contain_text("apache-2.0")
    walk.press("Download org/model")
    state = "#downloads .state"
    walk.see(state, "running")
    every = page.locator("#downloads")
    expect(every).to_have_attribute("hx-trigger", "every 1s, look")
    walk.judge()
    walk.press("Pause org/model")
    walk.see(state, "paused")
    go_on.set()
    walk.press("Resume org/model")
    walk.see(state, "done")
    walk.press("Add to models org/model")
    expect(page).to_have_url(re.compile("/admin/models/model$"))
    assert "path: org/model" in ground.front.config_file.read_text()
    walk.go("/admin/hub")
    walk.press("Dismiss org/model")
    walk.see("#downloads", "Nothing is being fetched.")
    expect(every).to_have_attribute("hx-trigger", "every 10s, look")
    page.locator("#disk").get_by_role("link", name="Delete org/model").click()
    expect(page.locator("main")).to_contain_text("model in config.yaml uses it.")
    walk.judge()
    walk.press("Delete")
    walk.see("#disk", "The Hub's cache is empty.")


def chat(walk: Walk, ground: Ground) -> None:
    page = walk.go("/admin/chat")
    page.locator("main").get_by_text("Settings", exact=True).click()
    page.get_by_label("Temperature").fill("3")
    page.get_by_label("Tokens at most").fill("12")
    message = page.locator("#text")
    message.fill("Lanterns")
    walk.press("Send")
    expect(page.get_by_role("alert")).to_contain_text("temperature must be between")
    walk.judge()
    page.get_by_label("Temperature").fill("0")
    files = [
        {"name": "notes.md", "mimeType": "text/markdown", "buffer": b"# They glow"},
        {"name": "paper.pdf", "mimeType": "application/pdf", "buffer": pdf("Kettles whistle")},
    ]
    page.get_by_label("Text files or PDFs").set_input_files(files)  # pyright: ignore
    message.fill("Lanterns <b>and</b> kettles")
    if walk.scripts:
        walk.note(message)
        message.press("Enter")
    else:
        walk.press("Send")
    answers = page.locator(".turn.assistant")
    expect(answers).to_contain_text("12 tokens")
    expect(answers).to_contain_text("tok/s")
    expect(page.locator(".turn.user")).to_contain_text("1 page")
    walk.judge()
    walk.press("Answer again")
    expect(answers).to_contain_text("2 of 2")
    expect(answers).to_contain_text("12 tokens")
    walk.press("‹")
    expect(answers).to_contain_text("1 of 2")
    page.get_by_text("Edit", exact=True).click()
    page.get_by_label("The message").fill("Only kettles")
    walk.press("Send as another version")
    expect(page.locator(".said")).to_have_text("Only kettles")
    expect(answers).to_contain_text("12 tokens")

    page.get_by_text("Settings of this conversation").click()
    page.get_by_label("Title", exact=True).fill("Of kettles")
    page.get_by_label("Tokens at most").fill("1000000")
    walk.press("Save")
    expect(page.get_by_role("heading", name="Of kettles").last).to_be_visible()
    message.fill("On and on")
    walk.press("Send")
    walk.press("Stop")
    expect(answers.last).to_contain_text("stopped")
    for export in ("Markdown", "JSON"):
        with page.expect_download() as download:
            page.get_by_role("link", name=export).click()
        assert "On and on" in download.value.path().read_text()
        walk.visited.add(f"/admin/chat/<chat:str>/export.{'md' if export[0] == 'M' else 'json'}")
    search = page.get_by_label("Search the titles")
    search.fill("kettles")
    walk.note(search)
    search.press("Enter")
    page.get_by_role("link", name="Of kettles").click()
    page.get_by_text("Settings of this conversation").click()
    walk.press("Delete this conversation")
    expect(page.locator(".chats")).to_contain_text("No conversation yet.")
