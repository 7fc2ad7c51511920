"""What runs is on the Overview, and its button ends it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from live import LiveDaemon
from playwright.sync_api import expect

from .conftest import NewPage

LONG = {"prompt": "a b c", "max_tokens": 1_000_000, "ignore_eos": True, "temperature": 0}


@pytest.fixture(scope="module")
def front(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[LiveDaemon]:
    folder = tiny_model("qwen3", max_position_embeddings=2_000_000)
    config = f"models:\n  tiny:\n    path: {folder}\n    max_concurrent: 1\n"
    with LiveDaemon(tmp_path_factory.mktemp("front"), config) as running:
        yield running


class Asking:
    """A request in a thread of its own."""

    def __init__(self, front: LiveDaemon, **fields: object) -> None:
        self.answer: httpx.Response | None = None
        self._front = front
        self._body = {"model": "tiny", **LONG, **fields}
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        with self._front.http() as http:
            self.answer = http.post("/v1/completions", json=self._body)

    def end(self) -> httpx.Response:
        self._thread.join(30)
        assert self.answer is not None
        return self.answer


def test_what_runs_and_waits_is_shown_and_ended_by_its_button(
    open_page: NewPage, front: LiveDaemon
) -> None:
    running = Asking(front)
    page = open_page()
    expect(page.locator("#running .state.ready")).to_have_text("decode", timeout=60_000)
    waiting = Asking(front, stream=True)
    expect(page.locator("#running")).to_contain_text("next in the queue", timeout=30_000)
    second = page.locator("table.running tbody").nth(1)
    second.get_by_role("button", name="Cancel request").click()
    expect(page.locator("table.running tbody")).to_have_count(1)
    assert '"code":"cancelled"' in waiting.end().text.replace(" ", "")

    plain = open_page(java_script_enabled=False)
    plain.get_by_role("button", name="Cancel request").click()
    expect(plain).to_have_url(re.compile("/admin/$"))
    answer = running.end()
    assert answer.status_code == 499
    assert answer.json()["error"]["message"] == "The request was cancelled on the dashboard."
    expect(page.locator("#running")).to_contain_text("No request runs.")
    with front.http() as http:
        front.wait_until(
            lambda: http.get("/admin/requests").text.count(">cancelled</span>") == 2, 20
        )
        assert http.post("/admin/running/12345/cancel").status_code == 303
