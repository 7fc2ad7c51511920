"""mcp.json in the shapes that people copy from everywhere, and broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastmlx.config.errors import ConfigError
from fastmlx.daemon.mcp.declared import ServerSpec, read
from hypothesis import given
from hypothesis import strategies as st

FILE = Path("/somewhere/mcp.json")


def one(entry: Any, environ: dict[str, str] | None = None) -> ServerSpec:
    return read(json.dumps({"mcpServers": {"x": entry}}), FILE, environ or {})["x"]


def wrong(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text, FILE, {})
    return caught.value


def test_a_program_has_arguments_and_an_environment() -> None:
    entry = {"command": "npx", "args": ["-y", "server", 8080], "env": {"KEY": "k"}}
    spec = one(entry | {"autoApprove": ["all"], "type": None})
    assert spec.transport == "stdio"
    assert (spec.command, spec.args, spec.env) == ("npx", ("-y", "server", "8080"), {"KEY": "k"})
    assert spec.where() == "npx -y server 8080"


@pytest.mark.parametrize(
    ("entry", "transport"),
    [
        ({"url": "http://h/mcp"}, "http"),
        ({"url": "http://h/sse"}, "sse"),
        ({"url": "http://h/sse", "type": "http"}, "http"),
        ({"url": "https://h:1/x", "type": "sse"}, "sse"),
        ({"url": "https://h/x", "transport": "streamable-http"}, "http"),
        ({"url": "https://h/x", "type": "streamableHttp"}, "http"),
        ({"command": "c", "type": "stdio"}, "stdio"),
    ],
)
def test_a_server_elsewhere_says_how_it_speaks(entry: dict[str, str], transport: str) -> None:
    assert one(entry).transport == transport


def test_secrets_come_from_the_environment_and_are_not_shown() -> None:
    entry = {
        "url": "https://user:pw@h:8/p?key=${TOKEN}",
        "headers": {"Authorization": "Bearer ${TOKEN}", "X": "${NONE:-plain}"},
    }
    spec = one(entry, {"TOKEN": "t0p"})
    assert spec.headers == {"Authorization": "Bearer t0p", "X": "plain"}
    assert spec.where() == "https://h:8/p"
    inside = one({"url": "https://h/s/${TOKEN}/mcp"}, {"TOKEN": "t0p"})
    assert (inside.url, inside.where()) == ("https://h/s/t0p/mcp", "https://h/…")
    program = one({"command": "/opt/npx", "args": ["--key", "${TOKEN}", "plain"]}, {"TOKEN": "t0p"})
    assert program.args == ("--key", "t0p", "plain")
    assert program.where() == "/opt/npx --key ${TOKEN} plain"
    # Who may not manage servers sees less: a secret may stand in the file, too.
    assert program.where(whole=False) == "npx"
    assert (spec.where(whole=False), inside.where(whole=False)) == ("https://h:8", "https://h")
    assert "TOKEN is not set" in wrong(json.dumps({"mcpServers": {"x": entry}})).message


def test_arguments_that_are_secrets_are_not_shown() -> None:
    args = ["--api-key", "k3y", "--token=t0p", "-e", "GITHUB_TOKEN=g1t", "postgres://me:pw@h/db"]
    said = one({"command": "run", "args": [*args, "--port", "80", "--auth", "-v"]}).where()
    assert said == (
        "run --api-key [hidden] --token=[hidden] -e GITHUB_TOKEN=[hidden] postgres://me:[hidden]@h/db"
        " --port 80 --auth -v"
    )


def test_nothing_is_nothing() -> None:
    assert read("", FILE, {}) == read(" \n", FILE, {}) == read("{}", FILE, {}) == {}
    assert read('{"mcpServers": {}}', FILE, {}) == {}


def test_a_broken_text_says_where() -> None:
    error = wrong('{"mcpServers": {\n  "x": {"command": "c",}\n}}')
    assert (error.line, error.path) == (2, FILE)


@pytest.mark.parametrize("value", ["9" * 5000, '{"\\ud83d": {"command": "c"}}', "[" * 100_000])
def test_what_json_allows_and_nothing_can_show_is_refused(value: str) -> None:
    assert wrong(f'{{"mcpServers": {value}}}').path == FILE


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({}, "x"),
        ({"command": "c", "url": "http://h"}, "x"),
        ({"command": ["c"]}, "x.command"),
        ({"command": "c", "args": "a"}, "x.args"),
        ({"command": "c", "args": [["a"]]}, "x.args.0"),
        ({"command": "c", "env": {"A": True}}, "x.env.A"),
        ({"command": "c", "type": "sse"}, "x.type"),
        ({"url": "http://h", "type": "pigeon"}, "x.type"),
        ({"url": "ftp://h"}, "x.url"),
        ({"url": "http://[::1"}, "x.url"),
        ({"url": "http://h:port/"}, "x.url"),
        ({"command": "c", "disabled": "no"}, "x.disabled"),
        ("npx", "x"),
    ],
)
def test_a_wrong_entry_is_named(entry: Any, key: str) -> None:
    assert wrong(json.dumps({"mcpServers": {"x": entry}})).key == f"mcpServers.{key}"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["mcpServers", "x", "command", "args", "env", "url", "type"]), inner
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_is_written_is_read_or_refused(value: Any) -> None:
    try:
        read(json.dumps(value), FILE, {})
    except ConfigError as error:
        assert str(error)
