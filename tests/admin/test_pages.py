"""The pages as documents, over HTTP, of a real daemon."""

from __future__ import annotations

import csv
import html
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastmlx.admin.usage import NO_KEY
from fastmlx.daemon.store.database import Database
from fastmlx.daemon.store.rows import UsageRow
from live import LiveDaemon

from .conftest import NASTY

PAGES = {
    "/admin/": ("banner", "models", "running", "activity"),
    "/admin/requests": ("banner", "requests"),
    "/admin/benchmarks": ("banner", "progress", "runs"),
    "/admin/cache?range=24h": ("banner", "cache"),
    "/admin/hub": ("banner", "downloads", "disk"),
    "/admin/keys": ("banner", "keys"),
    "/admin/models": ("banner", "models"),
    "/admin/models/tiny": ("banner", "now"),
    "/admin/usage": ("banner", "usage"),
    "/admin/logs": ("banner", "log"),
    "/admin/service": ("banner", "service"),
    "/admin/mcp": ("banner", "mcp"),
    "/admin/config": ("banner", "source"),
}
FRAGMENTS = [(page, block) for page, blocks in PAGES.items() for block in blocks]


def ask(http: httpx.Client, page: str, block: str, **headers: str) -> httpx.Response:
    """As htmx does."""
    return http.get(page, headers={"hx-request": "true", "hx-target": block} | headers)


def state(front: LiveDaemon, model: str = "tiny") -> str:
    return front.model(model)["state"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_under_a_policy_without_inline_script_and_style(
    http: httpx.Client, page: str
) -> None:
    answer = http.get(page)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in answer.headers["content-security-policy"]
    text = answer.text
    assert text.startswith("<!doctype html>")
    assert "<style" not in text
    assert not re.search(r"<[^>]* (style|on\w+)=", text)
    assert not re.search(r"<script(?![^>]* src=)", text)
    assert not re.search(r'(src|href|action)="(https?:)?//', text)


@pytest.mark.parametrize(("page", "block"), FRAGMENTS)
def test_a_block_has_the_address_of_its_page_and_costs_nothing_while_it_is_unchanged(
    http: httpx.Client, page: str, block: str
) -> None:
    assert f'<div id="{block}" data-live' in http.get(page).text
    for _ in range(5):  # the minute may turn, a line may be logged
        first = ask(http, page, block)
        assert first.text.startswith(f'<div id="{block}" data-live')
        second = ask(http, page, block, **{"if-none-match": first.headers["etag"]})
        if second.status_code == 304:
            assert second.content == b""
            return
    pytest.fail("the block is never the same twice")


def test_an_unknown_block_gets_the_whole_page(http: httpx.Client) -> None:
    assert ask(http, "/admin/", "nonsense").text.startswith("<!doctype html>")


def test_a_page_that_does_not_exist_is_an_html_page_too(http: httpx.Client) -> None:
    answer = http.get("/admin/nothing")
    assert answer.status_code == 404
    assert "There is no such page." in answer.text


def test_a_hub_that_cannot_be_reached_is_said_and_nothing_else_suffers(http: httpx.Client):
    assert 'role="alert"' not in http.get("/admin/hub").text.split("Search", 1)[1]
    page = http.get("/admin/hub?q=qwen")
    assert page.status_code == 200
    assert "could not be fetched" in page.text
    assert "The Hub&#39;s cache is empty." in page.text or "The Hub's cache" in page.text


def test_buttons_for_what_is_not_there_say_so(http: httpx.Client):
    for path, data in (("cache/clear", {"model": "<i>nobody</i>"}), ("running/12345/cancel", {})):
        answer = http.post(f"/admin/{path}", data=data)
        assert answer.status_code == (404 if data else 303)  # a request that has ended is no error
        assert "<i>nobody" not in answer.text


def test_looking_changes_nothing(http: httpx.Client, front: LiveDaemon) -> None:
    before = front.status()["models"]
    for page, block in FRAGMENTS:
        assert http.get(page).status_code == 200
        assert ask(http, page, block).status_code == 200
    for verb in ("load", "unload"):
        assert http.get(f"/admin/models/tiny/{verb}").status_code in (404, 405)
    assert front.status()["models"] == before


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:1"},
        {"host": "evil.example", "origin": "http://evil.example"},
    ],
)
def test_pages_of_others_cannot_press_the_buttons(
    http: httpx.Client, front: LiveDaemon, headers: dict[str, str]
) -> None:
    answer = http.post("/admin/models/tiny/load", headers=headers)
    assert answer.status_code == 403
    time.sleep(0.2)
    assert state(front) == "stopped"


def test_a_form_loads_and_unloads_a_model_by_any_of_its_names(
    http: httpx.Client, front: LiveDaemon
) -> None:
    for name in (NASTY, "tiny", "org/name", 'grüße & "küsse"'):
        address = f"/admin/models/{quote(name, safe='')}"
        answer = http.post(f"{address}/load")
        assert (answer.status_code, answer.headers["location"]) == (303, "/admin/")
        front.wait_until(lambda: state(front) == "ready", 60)
    page = http.get("/admin/").text
    assert '<span class="state ready">ready</span>' in page
    assert re.search(r"unloads in (9|10) min", page)
    assert 'action="/admin/models/tiny/unload"' in page
    http.post(f"{address}/unload")
    front.wait_until(lambda: state(front) == "stopped")


def test_a_button_of_a_model_that_was_removed_meanwhile_says_so(http: httpx.Client) -> None:
    answer = http.post(f"/admin/models/{quote(NASTY + '!', safe='')}/load")
    assert answer.status_code == 404
    assert "There is no model" in answer.text
    assert NASTY not in answer.text


def test_texts_of_users_and_files_are_escaped(http: httpx.Client) -> None:
    http.post("/admin/models/gone/load")
    page = http.get("/admin/").text
    for raw in (NASTY, "<b>folder</b>"):
        assert raw not in page
        assert html.escape(raw).replace("&quot;", "&#34;").replace("&#x27;", "&#39;") in page


def test_why_a_model_cannot_be_loaded_stands_in_its_row(http: httpx.Client) -> None:
    http.post("/admin/models/gone/load")
    page = http.get("/admin/").text
    assert '<span class="state failed">failed</span>' in page
    assert "does not exist" in page
    assert "Try again" in page


def test_what_an_architecture_cannot_do_stands_on_its_page_and_once_in_the_log(
    http: httpx.Client,
    front: LiveDaemon,
    admin_config: str,
    tiny_model: Callable[..., Path],
) -> None:
    front.edit_config(f"{admin_config}  odd: {{path: {tiny_model('llama4')}}}\n")
    front.wait_until(lambda: len(front.status()["models"]) == 3)
    for _ in range(2):
        http.post("/admin/models/odd/load")
        front.wait_until(lambda: state(front, "odd") == "ready", 60)
        page = http.get("/admin/models/odd").text
        assert "no: requests run one at a time" in page
        assert '<p class="aside">the cache of this architecture cannot be batched' in page
        http.post("/admin/models/odd/unload")
        front.wait_until(lambda: state(front, "odd") == "stopped")
    log = (front.home / "logs" / "fastmlx.log").read_text().splitlines()
    said = [line for line in log if "architecture cannot be batched" in line]
    assert len(said) == 1
    assert '"odd"' in said[0]
    front.edit_config(admin_config)
    front.wait_until(lambda: len(front.status()["models"]) == 2)


def test_a_broken_edit_is_on_every_page_until_it_is_mended(
    http: httpx.Client, front: LiveDaemon, admin_config: str
) -> None:
    assert http.get("/admin/config", headers={"accept": "application/json"}).json()["ok"]
    front.edit_config(admin_config.replace("idle_timeout", "idel_timeout"))
    front.wait_until(lambda: not front.status()["config"]["ok"])
    for page in PAGES:
        text = html.unescape(http.get(page).text)
        assert "config.yaml has an error" in text
        assert "line 2, column 3" in text
        assert "did you mean 'idle_timeout'?" in text
    shown = http.get("/admin/config").text
    assert re.search(r' id="error" class="wrong"><code>  <b>idel_timeout</b>', shown)
    answer = http.get("/admin/config", headers={"accept": "application/json"}).json()
    assert not answer["ok"]
    assert (answer["error"]["line"], answer["error"]["column"]) == (2, 3)

    front.edit_config("server:\n  port: 1234\n" + admin_config)
    front.wait_until(lambda: front.status()["config"]["ok"])
    text = http.get("/admin/").text
    assert "has an error" not in text
    assert "Waiting for a restart" in text and "<code>server.port</code>" in text
    front.edit_config(admin_config)
    front.wait_until(lambda: not front.status()["config"]["needs_restart"])
    assert "Waiting for a restart" not in http.get("/admin/").text


def row(number: int, **fields: Any) -> UsageRow:
    defaults: dict[str, Any] = {
        "at_ms": int(time.time() * 1000),
        "request_id": f"r{number}",
        "model": "tiny",
        "dialect": "openai_chat",
        "prompt_tokens": 1000 + number,
        "output_tokens": 10,
        "ttft_ms": 20.0,
        "duration_ms": 120.0,
        "finish_reason": "stop",
        "stream": True,
    }
    return UsageRow(**{**defaults, **fields})


def test_requests_can_be_paged_through(http: httpx.Client, front: LiveDaemon) -> None:
    database = Database(front.home / "fastmlx.db")  # another writer: SQLite allows it
    database.write([row(i) for i in range(120)])
    database.write([row(120, error="engine_died: <i>twice</i>", finish_reason=None)])
    database.close()
    seen: list[str] = []
    address = "/admin/requests"
    while address:
        page = http.get(address).text
        seen += re.findall(r'title="r(\d+)"', page)
        older = re.search(r'href="(/admin/requests\?before=[\d.]+)">Older', page)
        address = older[1] if older else ""
    assert [int(number) for number in seen] == list(range(120, -1, -1))
    assert "engine_died: &lt;i&gt;twice&lt;/i&gt;" in http.get("/admin/requests").text
    assert http.get("/admin/requests?before=nonsense").status_code == 200


def test_the_log_can_be_filtered_by_a_form_that_is_an_address(
    http: httpx.Client, front: LiveDaemon
) -> None:
    database = Database(front.home / "fastmlx.db")
    database.write([row(i, request_id=f"find-{i}", dialect="ollama_chat") for i in range(60)])
    database.write([row(7, request_id="find-x", key="laptop & co", finish_reason="cancelled")])
    database.close()

    def found(query: str) -> list[str]:
        return re.findall(r'title="(find-\w+)"', http.get(f"/admin/requests?{query}").text)

    assert len(found("dialect=ollama_chat")) == 50
    page = http.get("/admin/requests?dialect=ollama_chat&since=2020-01-01T00:00").text
    older = re.search(r'href="/admin/requests\?([^"]+before=[^"]+)">Older', page)
    assert older is not None
    assert len(found(html.unescape(older[1]))) == 10
    assert "<option selected>ollama_chat</option>" in page
    assert 'value="2020-01-01T00:00"' in page
    assert found("key=laptop+%26+co") == found("status=cancelled&id=find") == ["find-x"]
    assert found("id=find-x&model=other") == found("until=2020-01-01") == []
    assert "No such requests." in http.get("/admin/requests?model=other").text
    assert len(found("since=nonsense&status=nonsense&before=1.x")) == 50


def test_a_request_has_a_page_with_its_timeline(http: httpx.Client, front: LiveDaemon) -> None:
    with front.openai() as client:
        answer = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "Hello"}],
            max_tokens=8,
            temperature=0.5,
            extra_body={"ignore_eos": True},
        )
    address = f"/admin/requests/{answer.id}"
    front.wait_until(lambda: http.get(address).status_code == 200)
    page = http.get(address).text
    for text in ("decode", "8 tokens", "prefill", "temperature 0.5", "max_tokens 8"):
        assert text in page
    assert ask(http, address, "request").text.startswith('<div id="request" data-live')
    assert http.get("/admin/requests/no%2Fsuch").status_code == 404


def test_a_real_request_shows_up_in_figures_plots_and_tables(
    http: httpx.Client, front: LiveDaemon
) -> None:
    client = front.openai()
    for _ in range(2):
        client.chat.completions.create(
            model="org/name", messages=[{"role": "user", "content": "Hello"}], max_tokens=8
        )
    client.close()
    front.wait_until(lambda: ">openai_chat" in http.get("/admin/requests").text)
    front.wait_until(lambda: "Requests per minute" in http.get("/admin/").text)
    page = http.get("/admin/").text
    assert page.count('<figure class="plot">') == 3
    assert re.search(r"<title>\d\d:\d\d: \d+\ntiny \d+</title>", page)
    assert '<path class="m0" d="M' in page
    table = http.get("/admin/?range=24h&view=table").text
    assert re.search(r"<td>\d\d:\d\d–\d\d:\d\d</td><td>tiny</td>", table)


@pytest.mark.parametrize("query", ["range=1h", "range=24h", "range=7d", "range='x'&view=<b>"])
def test_every_range_and_nonsense_show_a_page(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/admin/?{query}")
    assert answer.status_code == 200
    assert "<b>" not in answer.text


def test_the_log_is_on_the_page_as_it_is_written(http: httpx.Client, front: LiveDaemon) -> None:
    assert "serves at" in http.get("/admin/logs").text
    with (front.home / "logs" / "fastmlx.log").open("a") as file:
        file.write(
            '{"time":"","level":"error","logger":"x","message":"<script>alert(1)</script>",'
            '"request":"chatcmpl-<7>","trace":"Traceback"}\n'
        )
    for query in ("", "?level=error", "?id=chatcmpl-%3C7%3E", "?text=ALERT", "?level=nonsense"):
        page = http.get(f"/admin/logs{query}").text
        assert "&lt;script&gt;alert(1)" in page
        assert 'href="/admin/requests/chatcmpl-%3C7%3E"' in page
        assert ("serves at" in page) == (query in ("", "?level=nonsense"))
    assert "No such entries." in http.get("/admin/logs?model=nothing").text


def test_files_are_compressed_kept_for_ever_and_stay_in_their_folder(http: httpx.Client) -> None:
    page = http.get("/admin/").text
    addresses = re.findall(r'(?:href|src)="(/admin/static/[^"]+)"', page)
    assert len(addresses) == 4
    for address in addresses:
        answer = http.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-encoding"] == "gzip"
        plain = http.get(address, headers={"accept-encoding": "identity"})
        assert plain.content == answer.content
    assert http.get("/admin/static/admin.css?v=older").headers["cache-control"] == "no-cache"
    for name in ("nothing.css", "..%2Fmount.py", "../mount.py", "..%2F..%2Fpyproject.toml"):
        assert http.get(f"/admin/static/{name}").status_code == 404


def test_pages_work_without_a_database_without_models_and_without_a_configuration(
    tmp_path: Path, admin_config: str
) -> None:
    home = tmp_path / "home"
    (home / "fastmlx.db").mkdir(parents=True)
    with LiveDaemon(home, admin_config) as front, front.http() as http:
        front.wait_until(lambda: "Usage is not recorded." in http.get("/admin/").text)
        for page in PAGES:
            assert http.get(page).status_code == 200
        assert "There are no figures at the moment." in http.get("/admin/").text
        assert "There are no figures at the moment." in http.get("/admin/requests").text
        client = front.openai()
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello"}], max_tokens=2
        )
        client.close()
        front.edit_config("models: {}\n")
        front.wait_until(lambda: "No models yet." in http.get("/admin/").text)
        front.config_file.unlink()
        front.wait_until(lambda: not front.status()["config"]["ok"])
        for page in set(PAGES) - {"/admin/models/tiny"}:
            assert "has an error" in http.get(page).text
        assert "does not exist" in http.get("/admin/config").text


def test_polls_that_find_nothing_new_cost_almost_nothing(
    http: httpx.Client, front: LiveDaemon
) -> None:
    """An open dashboard asks four blocks every 2 to 4 s: 1.75 times a second. The bound of 20 ms
    of CPU time a second (2 % of a core) is a fifth of what a slow machine under load needs."""
    import psutil

    process = psutil.Process(front.pid)
    etags = dict.fromkeys(PAGES["/admin/"], "")

    def poll() -> None:
        for block, etag in etags.items():
            answer = ask(http, "/admin/", block, **{"if-none-match": etag})
            etags[block] = answer.headers["etag"]

    poll()
    before = sum(process.cpu_times()[:2])
    for _ in range(50):
        poll()
    each_s = (sum(process.cpu_times()[:2]) - before) / (50 * len(etags))
    assert each_s * 1.75 < 0.02, f"{each_s * 1000:.2f} ms a poll"


def test_the_page_and_its_csv_show_what_was_used(http: httpx.Client, front: LiveDaemon) -> None:
    day_ms = 40 * 86_400_000
    old = row(0, at_ms=int(time.time() * 1000) - day_ms, model="gone", key="phone")
    database = Database(front.home / "fastmlx.db")
    database.write([old, row(1)])
    database.close()
    page = http.get("/admin/usage").text
    assert '<th scope="row">tiny</th>' in page and '<th scope="row">gone</th>' not in page
    page = http.get("/admin/usage?range=12m&by=key").text
    assert '<th scope="row">phone</th>' in page and f'<th scope="row">{NO_KEY}</th>' in page
    answer = http.get("/admin/usage.csv?range=12w")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    found = list(csv.DictReader(answer.text.splitlines()))
    found = [(row["model"], row["key"], row["prompt_tokens"]) for row in found]
    assert ("gone", "phone", "1000") in found
