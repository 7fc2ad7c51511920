"""Lines of the log: what is in them, and what cannot be."""

from __future__ import annotations

import json
import logging
import math
import sys
from pathlib import Path

import pytest
from fastmlx.daemon.logs import context
from fastmlx.daemon.logs.entry import LONGEST, Entry, Wanted, decode, encode, for_people
from fastmlx.daemon.logs.secrets import HIDDEN, without_secrets
from fastmlx.daemon.logs.write import JsonLines, LogFile, trim
from hypothesis import given
from hypothesis import strategies as st


def record(message: str, *args: object, level: int = logging.INFO, **extra: object):
    made = logging.LogRecord("fastmlx.daemon.x", level, "x.py", 1, message, args, None)
    made.__dict__.update(extra)
    return made


def test_a_line_is_one_json_object():
    line = JsonLines().format(record("hello %s", "world", model="demo"))
    said = json.loads(line)
    assert said.pop("time").endswith("Z")
    assert said == {
        "level": "info",
        "logger": "daemon.x",
        "message": "hello world",
        "model": "demo",
    }


def test_the_request_that_is_answered_is_named_until_the_next_begins():
    def lines() -> list[dict[str, str]]:
        said = []
        for http, request in (("r1", "chatcmpl-1"), ("r2", None)):
            context.begins(http)
            if request:
                context.is_called(request)
            said.append(json.loads(JsonLines().format(record("x"))))
        return said

    first, second = context.nobody_s().run(lines)
    assert (first["http"], first["request"]) == ("r1", "chatcmpl-1")
    assert second["http"] == "r2"
    assert "request" not in second


def test_a_line_about_another_request_does_not_carry_this_one_s_names():
    def line() -> dict[str, str]:
        context.begins("r1")
        return json.loads(JsonLines().format(record("x", request="cmpl-9")))

    said = context.nobody_s().run(line)
    assert said["request"] == "cmpl-9"
    assert "http" not in said


def test_an_exception_is_a_trace():
    try:
        raise ValueError("Bearer abcdefghijkl is wrong")
    except ValueError:
        made = record("it broke", level=logging.CRITICAL)
        made.exc_info = sys.exc_info()
    entry = decode(JsonLines().format(made))
    assert entry.level == "error"
    assert "Traceback" in (entry.trace or "")
    assert "abcdefghijkl" not in (entry.trace or "")


@given(st.text(), st.text())
def test_no_text_makes_a_second_line_or_reaches_the_terminal(message: str, trace: str):
    line = JsonLines().format(record("%s", message, model=message, request=trace))
    assert "\n" not in line
    assert "\r" not in line
    entry = Entry(time="t", message=message, trace=trace, model=message, request=trace)
    shown = for_people(entry)
    head, *rest = shown.split("\n")
    assert all(text.startswith("    ") for text in rest)
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert head.startswith("t INFO")
    assert not any(c in shown for c in "\u2028\u2029\u202e\u2066")


@given(st.binary() | st.text())
def test_any_line_can_be_read(line: str | bytes):
    assert decode(line).level in ("debug", "info", "warning", "error")


@given(st.builds(Entry, message=st.text(), request=st.none() | st.text(), trace=st.none()))
def test_what_is_written_is_what_is_read(entry: Entry):
    assert decode(encode(entry)) == entry


def test_bytes_that_are_no_text_lose_no_line():
    """Headers and names of files may hold them; Python makes lone surrogates of them."""
    odd = b"caf\xe9".decode(errors="surrogateescape")
    found = decode(encode(Entry(message=f"{odd} is read", client=odd)))
    assert (found.message, found.client) == ("caf\\udce9 is read", "caf\\udce9")


def test_a_message_has_a_longest_length():
    entry = decode(JsonLines().format(record("x" * (3 * LONGEST))))
    assert len(entry.message) < LONGEST + 100


def test_colours_only_where_they_are_asked_for():
    entry = Entry(level="error", message="x")
    assert for_people(entry) == "x"
    assert for_people(entry, colours=True) == "\x1b[31mx\x1b[0m"


def test_what_is_wanted():
    entry = Entry(level="warning", message="Disk FULL", request="a", http="b", model="m")
    for wanted in (
        Wanted(),
        Wanted(level="warning"),
        Wanted(request="a"),
        Wanted(request="b"),
        Wanted(model="m"),
        Wanted(text="full"),
    ):
        assert wanted.matches(entry), wanted
    for wanted in (
        Wanted(level="error"),
        Wanted(request="c"),
        Wanted(model="n"),
        Wanted(text="empty"),
    ):
        assert not wanted.matches(entry), wanted


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer s3cr3t-t0ken", "s3cr3t"),
        ("{'x-api-key': 'whatever-it-is'}", "whatever"),
        ('{"api_key": "abcdefgh"}', "abcdefgh"),
        ("token hf_abcdefghijklmnopqrst is bad", "hf_abc"),
        ("GET https://user:passw0rd@host/x", "passw0rd"),
        ("password=hunter22 was refused", "hunter22"),
        ("sk-proj-ABCDEFGHIJKLMNOP", "ABCDEF"),
        ("BEARER abcdefghijkl", "abcdef"),
        ("set-cookie: session=abcdef", "abcdef"),
        ("fastmlx-local-ABCDEFGHIJKLMNOP", "ABCDEF"),
    ],
)
def test_secrets_are_hidden(text: str, secret: str):
    hidden = without_secrets(text)
    assert secret not in hidden
    assert HIDDEN in hidden


def test_ordinary_sentences_stay():
    text = "openai_chat: stop, 12 prompt tokens (3 cached); http://127.0.0.1:6590/v1: basic auth"
    assert without_secrets(text) == text


def test_a_file_of_another_program_is_kept_small(tmp_path):
    path = tmp_path / "service.log"
    with path.open("a") as appended:
        appended.write("x" * 1000)
        appended.flush()
        trim(path, 2000)
        assert path.stat().st_size == 1000
        trim(path, 500)
        assert path.read_text() == ""
        assert (tmp_path / "service.log.1").read_text() == "x" * 1000
        appended.write("on")
    assert path.read_text() == "on"
    trim(tmp_path / "nothing")


def test_the_log_goes_on_in_a_new_file_before_one_grows_too_long(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    for _ in range(2):  # the second one finds what the first has left
        handler = LogFile(path, maxBytes=500, backupCount=9, encoding="utf-8")
        handler.setFormatter(JsonLines())
        for _ in range(7):
            handler.emit(record("ü" * 50))
        handler.close()
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    line = len(JsonLines().format(record("ü" * 50)).encode()) + 1
    assert sum(sizes) == 14 * line
    assert max(sizes) <= 500 < max(sizes) + line
    assert len(sizes) == math.ceil(14 / (500 // line))
