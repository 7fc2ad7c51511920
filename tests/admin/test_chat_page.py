"""`/admin/chat`: conversations in the browser, with and without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from live import LiveDaemon
from pdf import pdf

LONG = {"model": "tiny", "temperature": "0", "max_tokens": "4000"}
SHORT = LONG | {"max_tokens": "12"}


@pytest.fixture(scope="module")
def admin_config(tiny_model: Callable[..., Path]) -> str:
    return f"models:\n  tiny: {{path: {tiny_model('qwen3', endless=True)}}}\n"


@pytest.fixture
def http(front: LiveDaemon) -> Iterator[httpx.Client]:
    with front.http(follow_redirects=True) as client:
        yield client


def settled(front: LiveDaemon, http: httpx.Client, address: str) -> str:
    """The page when nothing is being written any more."""
    front.wait_until(lambda: "writing" not in http.get(address).text, 60)
    return http.get(address).text


def begin(http: httpx.Client, text: str, **fields: object) -> str:
    answer = http.post("/admin/chat", data=SHORT | {"text": text}, **fields)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer.url.path


def message_ids(page: str, role: str) -> list[str]:
    return re.findall(rf'<article class="turn {role}" id="m-(\w+)"', page)


def test_a_conversation_branches_and_is_exported_without_javascript(
    front: LiveDaemon, http: httpx.Client
) -> None:
    address = begin(http, "Hello <b>there</b>")
    page = settled(front, http, address)
    assert "Hello &lt;b&gt;there&lt;/b&gt;" in page
    assert "12 tokens" in page
    assert "tok/s" in page
    (answer,) = message_ids(page, "assistant")

    http.post(address + "/again", data={"message": answer})
    page = settled(front, http, address)
    assert "2 of 2" in page
    assert message_ids(page, "assistant") != [answer]
    assert "1 of 2" in http.post(address + "/choose", data={"message": answer}).text

    http.post(address + "/say", data={"text": "And more?"})
    page = settled(front, http, address)
    assert len(message_ids(page, "user")) == 2
    first = message_ids(page, "user")[0]
    http.post(address + "/say", data={"text": "Hello, otherwise", "message": first})
    page = settled(front, http, address)
    assert "Hello, otherwise" in page
    assert "And more?" not in page
    back = http.post(address + "/choose", data={"message": first}).text
    assert "And more?" in back

    markdown = http.get(address + "/export.md")
    assert "attachment" in markdown.headers["content-disposition"]
    assert markdown.text.startswith("# Hello <b>there</b>\n\n## User\n\nHello <b>there</b>")
    everything = http.get(address + "/export.json").json()
    assert len(everything["messages"]) == 7
    assert everything["options"]["max_tokens"] == 12

    assert "Hello" in http.get("/admin/chat", params={"words": "hello"}).text
    changed = SHORT | {"title": "Kettles", "system": "Be brief.", "temperature": "3"}
    refused = http.post(address + "/settings", data=changed)
    assert refused.status_code == 400
    assert "temperature must be between" in refused.text
    assert 'value="3"' in refused.text
    kept = http.post(address + "/settings", data=changed | {"temperature": "0.5"})
    assert "Kettles" in kept.text
    assert "Be brief." in kept.text

    assert http.post(address + "/delete").status_code == 200
    assert http.get(address).status_code == 404
    assert http.post(address + "/say", data={"text": "x"}).status_code == 404


def test_files_become_text_for_the_model(front: LiveDaemon, http: httpx.Client) -> None:
    files = [
        ("files", ("notes.md", "Lanterns glow".encode("utf-8-sig"), "text/markdown")),
        ("files", ("paper.pdf", pdf("Kettles whistle"), "application/pdf")),
    ]
    files += [("files", ("BMW.txt", b"BM is no picture", "text/plain"))]
    address = begin(http, "What is it about?", files=files)
    page = settled(front, http, address)
    assert "Lanterns glow" in page
    assert "Kettles whistle" in page
    assert "1 page<" in page
    got = http.get(address + "/export.json")
    assert got.status_code == 200, got.text
    said = got.json()["messages"][0]
    assert [file["name"] for file in said["files"]] == ["notes.md", "paper.pdf", "BMW.txt"]


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("cat.png", b"\x89PNG\r\n\x1a\n", "no model that is served here sees images"),
        ("cat.bmp", b"BM\x46\x00\x00\x00", "no model that is served here sees images"),
        ("x.bin", b"\x00\x01\x02", "neither text nor a PDF"),
        ("x.txt", b"caf\xe9", "not text in UTF-8"),
        ("x.pdf", b"%PDF-1.4\nnonsense", "cannot be read as a PDF"),
    ],
)
def test_a_file_that_is_no_text_is_refused_and_the_message_kept(
    http: httpx.Client, name: str, body: bytes, words: str
) -> None:
    given = [("files", (name, body, "application/octet-stream"))]
    answer = http.post("/admin/chat", data=SHORT | {"text": "Keep me"}, files=given)
    assert answer.status_code == 400
    assert name in answer.text
    assert words in answer.text
    assert "Keep me</textarea>" in answer.text


def test_an_answer_can_be_stopped_and_the_conversation_goes_on(
    front: LiveDaemon, http: httpx.Client
) -> None:
    page = http.post("/admin/chat", data=LONG | {"text": "On and on"})
    address = page.url.path
    busy = http.post(address + "/say", data={"text": "more"})
    assert (busy.status_code, "stop it first" in busy.text) == (409, True)
    front.wait_until(lambda: http.get(address + "/export.json").json()["messages"][1]["text"], 60)
    page = http.post(address + "/stop").text
    assert "writing" not in page
    (answer,) = (m for m in http.get(address + "/export.json").json()["messages"][1:])
    assert answer["finish"] == "stopped"
    http.post(address + "/settings", data=SHORT)
    http.post(address + "/say", data={"text": "again"})
    assert len(message_ids(settled(front, http, address), "assistant")) == 2


def test_what_was_said_is_there_after_a_kill(
    live: Callable[..., LiveDaemon], admin_config: str
) -> None:
    daemon = live(admin_config)
    with daemon.http(follow_redirects=True) as http:
        address = http.post("/admin/chat", data=LONG | {"text": "Remember"}).url.path
    daemon.kill()
    daemon.start()
    with daemon.http(follow_redirects=True) as http:
        page = http.get(address).text
        assert "Remember" in page
        assert "The answer was interrupted." in page
        assert "Answer again" in page


def test_events_bring_the_answer_as_html(front: LiveDaemon, http: httpx.Client) -> None:
    address = http.post("/admin/chat", data=LONG | {"text": "Stream"}).url.path
    kinds: list[str] = []
    with http.stream("GET", address + "/events") as response:
        assert response.headers["content-type"] == "text/event-stream"
        for line in response.iter_lines():
            if line.startswith("event: "):
                kinds.append(line.removeprefix("event: "))
                if len(kinds) == 2:
                    front_address = address + "/stop"
                    httpx.post(front.url + front_address)
    assert kinds[-1] == "end"
    assert set(kinds[:-1]) == {"answer"}
