"""Takes the README's pictures of the dashboard: `python tests/screenshots.py`.

A real daemon with the demo model and some traffic, Debian's Chromium, four pictures into
.github/screenshots/.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from pathlib import Path

import openai
from live import LiveDaemon
from playwright.sync_api import sync_playwright

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


def main() -> None:
    """Writes overview-light.png, overview-dark.png, overview-phone.png and cache-light.png."""
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, LiveDaemon(Path(home), CONFIG) as daemon:
        for _ in range(3):
            _traffic(daemon)
        running = threading.Thread(target=_long_answer, args=(daemon,), daemon=True)
        running.start()
        _pictures(daemon.url)


def _traffic(daemon: LiveDaemon) -> None:
    client = daemon.openai()
    for model in ("demo", "demo-json"):
        for question in QUESTIONS:
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}], max_tokens=80
            )


def _long_answer(daemon: LiveDaemon) -> None:
    with contextlib.suppress(openai.APIError):  # the daemon stops in the middle of it
        daemon.openai().completions.create(
            model="demo", prompt="Once", max_tokens=4000, extra_body={"ignore_eos": True}
        )


def _pictures(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, address, scheme, width, height in (
            ("overview-light", "", "light", 1280, 900),
            ("overview-dark", "", "dark", 1280, 900),
            ("overview-phone", "", "light", 390, 844),
            ("cache-light", "cache", "light", 1280, 900),
        ):
            context = browser.new_context(
                color_scheme="dark" if scheme == "dark" else "light",
                viewport={"width": width, "height": height},
                device_scale_factor=1.5 if width < 600 else 1,
            )
            page = context.new_page()
            page.goto(f"{url}/admin/{address}")
            page.wait_for_timeout(2500)
            page.screenshot(path=TARGET / f"{name}.png")
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
