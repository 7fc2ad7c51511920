"""`fastmlx launch`: programs named like the tools say what they were given, and one really asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastmlx.daemon.launch.tools import TOOLS, Candidate, Here, choose
from live import LiveDaemon

TELLS = """#!{python}
import json, os, sys
print(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ)}}))
"""
# As the tool would: a chat through the address, the key and the model that it finds.
ASKS = """#!{python}
import json, os, sys, urllib.request
body = {{"model": os.environ["OPENAI_MODEL"], "max_tokens": 2,
        "messages": [{{"role": "user", "content": sys.argv[-1]}}]}}
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions", json.dumps(body).encode(),
    {{"Content-Type": "application/json",
      "Authorization": "Bearer " + os.environ["OPENAI_API_KEY"]}})
answer = json.load(urllib.request.urlopen(request, timeout=60))
print(answer["usage"]["completion_tokens"])
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    config = "models:\n  demo: {path: 'builtin:demo', context: 1024, aliases: [claude-haiku]}\n"
    home = tmp_path_factory.mktemp("launch") / "home"
    with LiveDaemon(home, config, start_timeout_s=90) as daemon:
        yield daemon


@pytest.fixture
def launch(tmp_path: Path, daemon: LiveDaemon) -> Callable[..., subprocess.CompletedProcess[str]]:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in TOOLS:
        text = ASKS if name == "qwen" else TELLS
        (programs / name).write_text(text.format(python=sys.executable))
        (programs / name).chmod(0o755)

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fastmlx.daemon", "launch", "--home", str(daemon.home), *words],
            env=os.environ | {"PATH": f"{programs}:/usr/bin", "HOME": str(tmp_path)} | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def said(done: subprocess.CompletedProcess[str]) -> tuple[list[str], dict[str, str]]:
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    return told["arguments"], told["environment"]


def test_claude_is_told_by_its_environment(launch, daemon):
    arguments, environment = said(
        launch("claude", "--", "-p", "hello world", ANTHROPIC_API_KEY="mine")
    )
    assert arguments == ["-p", "hello world"]
    assert environment["ANTHROPIC_BASE_URL"] == daemon.url
    assert environment["ANTHROPIC_MODEL"] == "demo"
    assert environment["ANTHROPIC_AUTH_TOKEN"]
    assert environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "1024"
    assert environment["CLAUDE_CODE_ATTRIBUTION_HEADER"] == "0"
    assert "ANTHROPIC_API_KEY" not in environment


def test_codex_is_told_by_flags_that_are_toml(launch, daemon):
    arguments, environment = said(launch("codex", "--model", "claude-haiku", "--", "exec", "hi"))
    assert arguments[-2:] == ["exec", "hi"]
    flags = arguments[1:-2:2]
    assert set(arguments[:-2:2]) == {"-c"}
    settings = tomllib.loads("\n".join(flags))
    assert settings["model"] == "claude-haiku"
    provider = settings["model_providers"][settings["model_provider"]]
    assert provider["base_url"] == f"{daemon.url}/v1"
    assert provider["wire_api"] == "responses"
    assert environment[provider["env_key"]]
    assert settings["model_auto_compact_token_limit"] < settings["model_context_window"] == 1024


def test_opencode_is_told_by_one_variable(launch, daemon):
    _, environment = said(launch("opencode"))
    config = json.loads(environment["OPENCODE_CONFIG_CONTENT"])
    provider, _, model = config["model"].partition("/")
    assert config["provider"][provider]["options"]["baseURL"] == f"{daemon.url}/v1"
    assert config["provider"][provider]["models"][model]["limit"]["context"] == 1024


def test_aider_is_told_by_both(launch, daemon):
    arguments, environment = said(launch("aider", "--", "--no-git"))
    assert arguments[:2] == ["--model", "openai/demo"]
    assert arguments[-1] == "--no-git"
    assert environment["OPENAI_API_BASE"] == f"{daemon.url}/v1"


def test_a_tool_that_asks_is_answered(launch):
    done = launch("qwen", "--", "hello")
    assert done.stdout == "2\n", done.stderr


def test_a_key_goes_by_the_environment_alone_and_is_not_printed(launch):
    arguments, environment = said(launch("codex", FASTMLX_API_KEY="sk-my-secret-key-42"))
    assert environment["FASTMLX_API_KEY"] == "sk-my-secret-key-42"
    assert not any("secret" in word for word in arguments)
    for name in TOOLS:
        shown = launch(name, "--print", "--key", "sk-my-secret-key-42").stdout
        assert "demo" in shown
        assert "secret" not in shown


def test_no_file_of_a_tool_is_touched(launch, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for name in ("claude", "codex", "opencode", "aider"):
        assert launch(name).returncode == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_missing_is_said(launch, tmp_path, daemon):
    assert "which tool?" in launch().stderr
    assert "there is no model" in launch("claude", "--model", "nobody").stderr.lower()
    (tmp_path / "bin" / "aider").unlink()
    missing = launch("aider")
    assert missing.returncode == 1
    assert "aider is not on this machine; get it with: python -m pip" in missing.stderr
    nowhere = launch("claude", "--home", str(tmp_path / "nowhere"))
    assert "no daemon runs" in nowhere.stderr
    assert "`fastmlx serve` starts one" in nowhere.stderr


def test_the_tools_are_listed(launch, tmp_path):
    listed = launch("--list").stdout
    for name in TOOLS:
        assert str(tmp_path / "bin" / name) in listed


def test_a_server_with_keys_wants_one(tmp_path):
    with LiveDaemon(tmp_path / "home", "models: {demo: {path: 'builtin:demo'}}\n") as daemon:
        base = [sys.executable, "-m", "fastmlx.daemon"]

        def run(*words: str, key: str = "") -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*base, *words],
                env=os.environ | {"FASTMLX_API_KEY": key, "FASTMLX_HOME": str(daemon.home)},
                capture_output=True,
                text=True,
                timeout=60,
            )

        created = run("keys", "create", "agent")
        assert created.returncode == 0, created.stderr
        refused = run("launch", "claude", "--print")
        assert refused.returncode == 1
        assert "fastmlx keys create" in refused.stderr


def candidate(name: str, *, loaded=False, toy=False, able=True) -> Candidate:
    return Candidate(name, None, loaded, toy, able)


def test_the_model_is_chosen_only_where_that_is_clear():
    demo = candidate("demo", loaded=True, toy=True)
    a, b = candidate("a"), candidate("b")
    embedder = candidate("e", able=False)
    assert choose([]) is None
    assert choose([demo, embedder]) == demo
    assert choose([demo, a]) == a
    assert choose([demo, a, b]) is None
    assert choose([demo, a, b._replace(loaded=True)]) == b._replace(loaded=True)


def test_without_a_known_context_nothing_is_said_of_it():
    for tool in TOOLS.values():
        start = tool.start(Here("http://h:1", None, "m"))
        assert "None" not in " ".join([*start.arguments, *start.environment.values()])
