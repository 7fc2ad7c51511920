"""Takes the README's pictures of the dashboard: `python tests/screenshots.py [NAME…]`.

A real daemon with the demo model, a made-up month of requests and some real traffic; Debian's
Chromium; every page of the navigation, light and dark, into .github/screenshots/.
"""

from __future__ import annotations

import base64
import contextlib
import math
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import openai
from fastmlx.admin.nav import PAGES
from fastmlx.daemon.store.database import Database
from fastmlx.daemon.store.rows import UsageRow
from live import LiveDaemon
from playwright.sync_api import Browser, Page, sync_playwright

TARGET = Path(__file__).parent.parent / ".github" / "screenshots"
CONFIG = """\
server: {drain_timeout: 1s}
models:
  demo:
    path: builtin:demo
    aliases: [gpt-4o-mini]
  demo-json:
    path: builtin:demo
    system_prompt: Answer in JSON.
    idle_timeout: 5m
  qwen3-8b:
    path: mlx-community/Qwen3-8B-4bit
    idle_timeout: 30m
"""
QUESTIONS = (
    "Who are you?",
    "What is 17 + 25?",
    "How do I unload a model?",
    "What is a pinned model?",
)
DAY_MS = 86_400_000
MINUTE_MS = 60_000
MACHINE = "a test machine, 2 cores"
REQUESTS = 9_000  # made up, in a month
# Chromium writes WebP itself, at a quarter of a PNG's size.
AS_WEBP = """async ([png, quality]) => {
    const answer = await fetch("data:image/png;base64," + png);
    const image = await createImageBitmap(await answer.blob());
    const canvas = new OffscreenCanvas(image.width, image.height);
    canvas.getContext("2d").drawImage(image, 0, 0);
    const blob = await canvas.convertToBlob({type: "image/webp", quality});
    const bytes = new Uint8Array(await blob.arrayBuffer());
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}"""


def main() -> None:
    """Writes PAGE-light.webp and PAGE-dark.webp of each page, and overview-phone.webp."""
    TARGET.mkdir(parents=True, exist_ok=True)
    wanted = set(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / ".fastmlx"
        home.mkdir()
        # Neither where this was checked out nor on what it runs is for a picture.
        (venv := Path(folder) / "venv").symlink_to(sys.prefix)
        sys.executable = str(venv / "bin" / "python")
        database = Database(home / "fastmlx.db")
        database.write(list(_month()))
        database.close()
        with LiveDaemon(home, CONFIG) as daemon:
            for _ in range(2):
                _traffic(daemon)
            _benchmark(daemon)
            conversation = _talk(daemon)
            running = [
                threading.Thread(target=_long_answer, args=(daemon, number), daemon=True)
                for number in range(2)
            ]
            for each in running:
                each.start()
            _pictures(daemon.url, wanted, conversation)


def _month() -> Iterator[UsageRow]:
    """More by day than by night, growing."""
    numbers = random.Random(7)
    now_ms = int(time.time() * 1000)
    for number in range(REQUESTS):
        at_ms = now_ms - int(30 * DAY_MS * (1 - math.sqrt(number / REQUESTS)))
        hour = time.localtime(at_ms / 1000).tm_hour
        if numbers.random() > 0.15 + 0.85 * max(0.0, math.sin((hour - 6) / 24 * 2 * math.pi)):
            continue
        ttft_ms = numbers.lognormvariate(4.6, 0.6)
        prompt = int(numbers.lognormvariate(6.8, 1.0))
        output = int(numbers.lognormvariate(4.5, 0.9)) + 2
        failed = numbers.random() < 0.002
        yield UsageRow(
            at_ms=at_ms,
            request_id=f"chatcmpl-{numbers.getrandbits(96):024x}",
            model=numbers.choice(("demo", "demo", "demo-json")),
            dialect=numbers.choice(("openai_chat", "anthropic_messages", "openai_responses")),
            key=numbers.choice(("laptop", "laptop", "ci", None)),
            client="127.0.0.1",
            prompt_tokens=prompt,
            cached_tokens=int(prompt * numbers.choice((0, 0.6, 0.9, 0.95))),
            output_tokens=output,
            queue_ms=1.4,
            ttft_ms=None if failed else ttft_ms,
            duration_ms=ttft_ms + output * numbers.lognormvariate(2.4, 0.2),
            finish_reason=None if failed else "stop",
            error="context_length_exceeded: The prompt has 34,120 tokens." if failed else None,
            stream=True,
        )


def _traffic(daemon: LiveDaemon) -> None:
    client = daemon.openai()
    for model in ("demo", "demo-json"):
        for question in QUESTIONS:
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], max_tokens=80
            )


def _benchmark(daemon: LiveDaemon) -> None:
    with daemon.http() as http:
        for model in ("demo", "demo-json"):
            plan = {"model": model, "prompt_tokens": [32, 128], "batches": [1, 4]}
            http.post("/api/bench", json=plan | {"output_tokens": 32}).raise_for_status()
            daemon.wait_until(
                lambda: http.get("/api/bench").json()["current"]["state"] == "done", 120
            )
    with sqlite3.connect(daemon.home / "fastmlx.db") as database:
        database.execute("UPDATE bench_runs SET machine = ?", (MACHINE,))


def _talk(daemon: LiveDaemon) -> str:
    """Makes conversations on the Chat page; the address of one with an answer."""
    with daemon.http(follow_redirects=True) as http:
        address = ""
        for question in QUESTIONS:
            form = {"model": "demo", "text": question, "temperature": "0", "max_tokens": "80"}
            address = http.post("/admin/chat", data=form).url.path
            export = address + "/export.json"
            daemon.wait_until(lambda at=export: http.get(at).json()["messages"][-1]["facts"], 60)
    return address


def _long_answer(daemon: LiveDaemon, number: int) -> None:
    with contextlib.suppress(openai.APIError):  # the daemon stops in the middle of it
        daemon.openai().completions.create(
            model="demo",
            prompt=f"Once upon {number}",
            max_tokens=12_000,
            extra_body={"ignore_eos": True},
        )


def _pictures(url: str, wanted: set[str], conversation: str) -> None:
    shots = [(entry.name.lower(), entry.address) for entry in PAGES]
    shots = [(name, conversation if name == "chat" else address) for name, address in shots]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        shots.append(("request", _first_request(browser, url)))
        for name, address in shots:
            for scheme in ("light", "dark"):
                if not wanted or name in wanted:
                    _picture(browser, url + address, f"{name}-{scheme}", scheme, 1280, 880)
        if not wanted or "overview" in wanted:
            _picture(browser, url + "/admin/", "overview-phone", "light", 390, 844)
        browser.close()


def _first_request(browser: Browser, url: str) -> str:
    page = browser.new_page()
    page.goto(f"{url}/admin/requests?dialect=openai_chat")
    address = page.locator("table.requests a.title").first.get_attribute("href")
    page.close()
    assert address is not None
    return address


def _picture(
    browser: Browser, address: str, name: str, scheme: str, width: int, height: int
) -> None:
    context = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": height},
        device_scale_factor=1.5 if width < 600 else 1,
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_timeout(1500)
    png = page.screenshot()
    context.close()
    blank = browser.new_page()
    (TARGET / f"{name}.webp").write_bytes(_webp(blank, png))
    blank.close()


def _webp(page: Page, png: bytes) -> bytes:
    return base64.b64decode(page.evaluate(AS_WEBP, [base64.b64encode(png).decode(), 0.86]))


if __name__ == "__main__":
    main()
