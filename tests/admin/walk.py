"""Somebody who walks through the dashboard in a browser, and keeps a book of what the pages offered
and what was pressed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import axe_playwright_python
from fastmlx.admin.mount import blueprint
from hub import SmallHub
from live import LiveDaemon
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Error,
    Locator,
    Page,
    Response,
    ViewportSize,
    expect,
)
from sanic import Sanic

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
WINDOW: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
PATIENCE_S = 60.0
# All that sends something: forms and what htmx sends beside them. An action is how it is sent, to
# what address, and which values the page itself has put in; a button that no form holds is shown
# by its text, as one that can only be a script's.
OFFERED = """() => {
  const hidden = form => [...form.querySelectorAll("input[type=hidden]")].map(each => each.name);
  const name = at => at.closest("nav[aria-label]")?.getAttribute("aria-label");
  const found = [];
  for (const form of document.forms) {
    const method = form.getAttribute("method") ?? "no method";
    const over = [...form.elements].map(each => each.getAttribute("formaction"));
    for (const address of new Set([form.getAttribute("action"), ...over.filter(Boolean)]))
      found.push([method, address ?? "no action", hidden(form)]);
    const post = form.getAttribute("hx-post");
    if (post && post !== form.getAttribute("action")) found.push(["script", post, []]);
  }
  for (const button of document.querySelectorAll("button:not([popovertarget])"))
    if (!button.form) found.push(["script", button.textContent, []]);
  for (const link of document.querySelectorAll("a[hx-get]")) found.push(
    ["get", link.getAttribute("href") ?? "no address", [name(link) ?? "a link"]]);
  return found;
}"""
# What pressing this sends.
SENT = """at => {
  const form = at.form ?? at;
  const hidden = [...form.querySelectorAll("input[type=hidden]")].map(each => each.name);
  const name = at.closest("nav[aria-label]")?.getAttribute("aria-label");
  if (at.matches("a")) return ["get", at.getAttribute("href"), [name ?? "a link"]];
  const address = at.getAttribute("formaction") ?? form.getAttribute("action");
  return [form.getAttribute("method"), address, hidden];
}"""
# Why the page is wider than its window, if it is.
WIDER = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")]
    .filter(each => each.getBoundingClientRect().right > innerWidth)
    .map(each => each.outerHTML.slice(0, 200))"""


class Action(NamedTuple):
    method: str
    address: str  # of the route, with <…> for what varies
    given: tuple[str, ...]  # names of hidden values


class Ground(NamedTuple):
    """What is walked over."""

    front: LiveDaemon
    hub: SmallHub  # that the daemon knows
    config: str  # of the daemon, as it was at first
    llama: Path  # a model that is not declared
    browser: Browser

    def restore(self) -> None:
        """Saves the configuration as it was, as an editor does, and waits until it is in force."""
        front = self.front
        before = front.status()["config"]["loaded_at"]
        if front.config_file.read_text() != self.config:
            front.edit_config(self.config)
            front.wait_until(lambda: front.status()["config"]["loaded_at"] > before, 30)


class Route(NamedTuple):
    """An address of the dashboard."""

    method: str
    address: str
    shape: re.Pattern[str]


def routes() -> list[Route]:
    """All of them, those without anything variable first."""
    app = Sanic("walk", configure_logging=False)
    app.blueprint(blueprint())
    found = []
    for route in app.router.routes:
        address = "/" + route.path
        # Which button of several it is: each is an action.
        shape = re.sub(r"<\w+:path>", ".+", re.sub(r"<(?!\w+:path)[^>]+>", "[^/]+", address))
        found += [Route(method, address, re.compile(shape)) for method in route.methods]
    return sorted(found, key=lambda each: (each.address.count("<"), each.address))


ROUTES = routes()


def route_of(method: str, path: str) -> str:
    """The address of the route that answers; the last part stays when it says what to do."""
    path = path.rstrip("/")
    for route in ROUTES:
        if route.method == method.upper() and route.shape.fullmatch(path):
            return re.sub(r"<what:?\w*>", path.rpartition("/")[2], route.address)
    return f"no route: {path}"


class Walk:
    """One window of a browser, with scripts or without them.

    `go`, `press` and `see` are all that it needs; each looks at what the page offers by then.
    """

    def __init__(self, context: BrowserContext, front: LiveDaemon, *, scripts: bool) -> None:
        self.page: Page = context.new_page()
        self.front = front
        self.scripts = scripts
        self.offered: set[Action] = set()
        self.pressed: set[Action] = set()
        self.visited: set[str] = set()  # addresses of GET routes
        self.judged: set[str] = set()  # those of pages in which axe found nothing
        self.said: list[str] = []  # warnings of the console: also a broken rule of the policy
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.page.on("console", self._hear)
        self.page.on("response", self._judge_answer)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", _agree)
        self.page.on("framenavigated", lambda frame: self._visit(frame.url))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "the server responded" not in message.text:
            self.said.append(f"{self.page.url}: {message.text}")

    def _judge_answer(self, answer: Response) -> None:
        """A page may say that a form is wrong; a script's own questions never fail."""
        if answer.status >= 400 and not answer.request.is_navigation_request():
            self.said.append(f"{self.page.url}: {answer.request.url} is {answer.status}")

    def _visit(self, url: str) -> None:
        if "/admin" in url:
            self.visited.add(route_of("get", urlsplit(url).path))

    def go(self, path: str) -> Page:
        """Opens a page of the daemon, or of the one that the address names."""
        self.page.goto(path if path.startswith("http") else self.front.url + path)
        self.look()
        return self.page

    def look(self) -> None:
        try:
            found = self.page.evaluate(OFFERED)
        except Error:  # it is loading itself again, as the Chat page does when an answer is done
            self.page.wait_for_load_state()
            found = self.page.evaluate(OFFERED)
        self.offered |= {_action(*each) for each in found}

    def row(self, name: str) -> Locator:
        """The first row of a table that names it."""
        return self.page.locator("main tbody").filter(has_text=name).first

    def button(self, name: str | re.Pattern[str], within: str = "main") -> Locator:
        exact = isinstance(name, str)
        return self.page.locator(within).get_by_role("button", name=name, exact=exact)

    def press(self, button: str | Locator, within: str = "main") -> None:
        """Clicks a button, or a link that htmx follows."""
        at = self.button(button, within) if isinstance(button, str) else button
        expect(at).to_be_visible()
        self.look()
        self.note(at)
        at.click()

    def note(self, at: Locator) -> None:
        """Something is going to be sent otherwise than by a click."""
        self.pressed.add(_action(*at.evaluate(SENT)))

    def see(self, at: Locator | str, text: str | re.Pattern[str]) -> None:
        """Waits until it says so: by itself, or without scripts after loading the page again."""
        at = self.page.locator(at) if isinstance(at, str) else at
        if self.scripts:
            expect(at).to_contain_text(text)
        else:
            words = re.escape(text) if isinstance(text, str) else text
            said = at.all_text_contents
            self.until(lambda: any(re.search(words, " ".join(each.split())) for each in said()))
        self.look()

    def until(self, done: Callable[[], object], *, reload: bool = False) -> None:
        """As `see`, for what is more than a text; `reload` is for what changes by itself too, but
        slowly."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, self.page.locator("main").inner_text()
            self.page.wait_for_timeout(100)
            if reload or not self.scripts:
                self.page.reload()

    def judge(self) -> None:
        """Nobody is shut out of the page as it is now: axe finds no serious fault, in a window in
        the light and on a phone in the dark, and nothing is wider than the phone."""
        if not self.scripts:
            return
        page = self.page
        expect(page.locator("h1")).to_have_count(1)
        expect(page.locator("form.htmx-request")).to_have_count(0)  # its button is pale meanwhile
        found = faults(page)
        page.set_viewport_size(PHONE)
        page.emulate_media(color_scheme="dark")
        found += page.evaluate(WIDER) + faults(page)
        assert not found, found
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(WINDOW)
        self.judged.add(route_of("get", urlsplit(page.url).path))


def faults(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]} {node['failureSummary'][:300]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def _action(method: str, address: str, given: list[str]) -> Action:
    return Action(method, route_of(method, urlsplit(address).path), tuple(sorted(given)))


def _agree(dialog: Dialog) -> None:
    dialog.accept()
