"""Daemons that the pages are tested on, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hub import environment
from live import LiveDaemon
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

NewPage = Callable[..., Page]
expect.set_options(timeout=60_000)  # a busy machine must not fail a test
NASTY = """<img src=x onerror="alert('1')">"""  # an alias may be any text


@pytest.fixture(scope="session")
def admin_config(tiny_model: Callable[..., Path]) -> str:
    """One model that works, under strange names too, and one whose files are missing."""
    alias = NASTY.replace("'", "''")
    return f"""\
defaults:
  idle_timeout: 10m
models:
  tiny:
    path: {tiny_model("qwen3")}
    aliases: [org/name, 'grüße & "küsse"', '{alias}']
  gone:
    path: /nonexistent/<b>folder</b>
"""


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, admin_config: str) -> Iterator[LiveDaemon]:
    """A daemon for the tests of one file, which leave its configuration as they found it. The Hub
    is out of its reach."""
    home = tmp_path_factory.mktemp("front")
    told = environment("http://127.0.0.1:9", home / "hub")
    with LiveDaemon(home, admin_config, environment=told) as running, running.http() as http:
        # The daemon answers before its database is open.
        running.wait_until(lambda: "is being opened" not in http.get("/admin/usage").text, 30)
        yield running


@pytest.fixture
def http(front: LiveDaemon) -> Iterator[httpx.Client]:
    with front.http() as client:
        yield client


# Not for the session: Playwright's event loop runs in this thread until it is closed, and tests of
# other files that are coroutines need one of their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs chromium (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, front: LiveDaemon) -> Iterator[NewPage]:
    """`open_page(path, **context options)`; what the console warns of is an error at the end."""
    contexts: list[BrowserContext] = []
    said: list[str] = []

    def hear(path: str, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):  # not hints for developers
            said.append(f"{path}: {message.text}")

    def open_page(path: str = "/admin/", *, quiet: bool = True, **options: object) -> Page:
        context = browser.new_context(**options)  # pyright: ignore[reportArgumentType]
        contexts.append(context)
        page = context.new_page()
        if quiet:
            page.on("console", lambda message: hear(path, message))
            page.on("pageerror", lambda error: said.append(f"{path}: {error}"))
        page.goto(front.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
