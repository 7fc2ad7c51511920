"""`fastmlx run`: chatting in a terminal with a real model of random weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live import LiveDaemon
from terminal import CTRL_C, CTRL_D, Terminal

CONFIG = """\
models:
  endless:
    path: {endless}
    sampling: {{temperature: 0}}
  brief:
    path: {endless}
    sampling: {{temperature: 0, max_tokens: 12}}
  thinker:
    path: {thinker}
    sampling: {{temperature: 0, max_tokens: 12}}
    chat_template: ./thinks.jinja
    reasoning_parser: think
"""
# The prompt opens the thinking, which a model without a </think> in its words never ends.
THINKS = "{% for m in messages %}{{ m.content }}{% endfor %}<think>\n"


@pytest.fixture(scope="module")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Path]
) -> Iterator[LiveDaemon]:
    home = tmp_path_factory.mktemp("run")
    (home / "thinks.jinja").write_text(THINKS)
    config = CONFIG.format(endless=tiny_model("llama", endless=True), thinker=tiny_model("qwen3"))
    with LiveDaemon(home, config) as running:
        yield running


def run(daemon: LiveDaemon, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastmlx.daemon", "run", *words, "--home", str(daemon.home)]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def chat(daemon: LiveDaemon) -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def start(*words: str, **environment: str) -> Terminal:
        command = [sys.executable, "-m", "fastmlx.daemon", "run", *words]
        terminals.append(Terminal([*command, "--home", str(daemon.home)], environment))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.__exit__()


def test_a_prompt_gets_the_answer_of_the_api(daemon):
    done = run(daemon, "brief", "hello")
    assert done.returncode == 0, done.stderr
    answer = daemon.openai().chat.completions.create(
        model="brief", messages=[{"role": "user", "content": "hello"}]
    )
    assert done.stdout.rstrip("\n") == (answer.choices[0].message.content or "").rstrip("\n")
    assert "(cut: the answer reached its limit)" in done.stderr


def test_a_piped_prompt_is_asked_once(daemon):
    piped, given = run(daemon, "brief", stdin="hello"), run(daemon, "brief", "hello")
    assert piped.stdout == given.stdout != ""
    assert piped.returncode == 0


def test_an_empty_pipe_asks_nothing(daemon):
    done = run(daemon, "brief", stdin="\n")
    assert done.returncode == 1
    assert done.stderr == "fastmlx: there is nothing to ask: the prompt is empty\n"


def test_thinking_is_left_out_where_the_output_is_no_terminal(daemon):
    done = run(daemon, "thinker", "hello")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_thinking_is_dim_in_a_terminal_and_plain_without_colours(chat):
    terminal = chat("thinker", "hello")
    assert terminal.wait_for_end() == 0
    assert "\x1b[2m" in terminal.shown
    assert "\x1b[0m" in terminal.shown[terminal.shown.index("\x1b[2m") :]
    plain = chat("thinker", "hello", NO_COLOR="1")
    assert plain.wait_for_end() == 0
    assert "\x1b[2m" not in plain.shown
    assert plain.shown.strip()


def test_a_conversation_goes_on_until_ctrl_d(daemon, chat):
    terminal = chat("brief")
    at = terminal.wait_for("> ")
    terminal.type("hello\n")
    at = terminal.wait_for("(cut", after=at)
    at = terminal.wait_for("> ", after=at)
    terminal.type("again \\\n")
    at = terminal.wait_for(". ", after=at)
    terminal.type("and more\n")
    at = terminal.wait_for("(cut", after=at)
    at = terminal.wait_for("> ", after=at)
    terminal.type(CTRL_D)
    assert terminal.wait_for_end() == 0
    assert "hello" in (daemon.home / "history").read_text().splitlines()
    assert (daemon.home / "history").stat().st_mode & 0o077 == 0


def test_ctrl_c_stops_the_answer_and_its_request_not_the_program(daemon, chat):
    terminal = chat("endless")
    at = terminal.wait_for("> ")
    terminal.type("hello\n")
    daemon.wait_until(lambda: daemon.model("endless")["output_tokens"] > 20)
    terminal.type(CTRL_C)
    at = terminal.wait_for("(stopped)", after=at)
    daemon.wait_until(lambda: daemon.model("endless")["requests_running"] == 0)
    at = terminal.wait_for("> ", after=at)
    terminal.type(CTRL_C)
    at = terminal.wait_for("(Ctrl-D leaves)", after=at)
    terminal.wait_for("> ", after=at)
    terminal.type(CTRL_D)
    assert terminal.wait_for_end() == 0


def test_ctrl_c_ends_a_single_question(daemon, chat):
    terminal = chat("endless", "hello")
    daemon.wait_until(lambda: daemon.model("endless")["requests_running"] == 1)
    terminal.type(CTRL_C)
    assert terminal.wait_for_end() == 130
    assert "Traceback" not in terminal.shown
    daemon.wait_until(lambda: daemon.model("endless")["requests_running"] == 0)


def test_commands_of_the_chat_say_what_they_did(chat):
    terminal = chat("brief")
    at = terminal.wait_for("> ")
    for typed, said in (
        ("/help", "Ctrl-C stops an answer"),
        ("/system Speak like a pirate.", "system message set"),
        ("/system", "system message removed"),
        ("/think off", "thinking is off"),
        ("/think", "/think on or /think off"),
        ("/clear", "forgotten"),
        ("/dance", "there is no command /dance"),
    ):
        terminal.type(typed + "\n")
        at = terminal.wait_for(said, after=at + len(typed))
        at = terminal.wait_for("> ", after=at)


def test_the_chat_of_an_unknown_model_does_not_begin(chat):
    terminal = chat("nobody")
    assert terminal.wait_for_end() == 1
    assert "nobody" in terminal.shown
    assert "Ctrl-D leaves" not in terminal.shown
