"""Chat with a model in the terminal, through the running daemon.

With PROMPT, or with text piped into it, one answer is printed and that is all. Otherwise a
conversation begins: Ctrl-C stops an answer, Ctrl-D leaves, /help lists the commands. Thinking is
shown dim; when the output is no terminal only the answer is written."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path

from ...config.paths import Home
from .arguments import add_model
from .chat import Conversation
from .client import Daemon
from .failure import Failure
from .load import load_with_progress
from .terminal import harmless, has_colours

HELP = """\
  /system TEXT     set the system message; without TEXT, remove it
  /think on|off    let the model think first, or not
  /clear           forget the conversation
  /help            this
  Ctrl-C stops an answer, Ctrl-D leaves; a line that ends with \\ goes on in the next one."""
HISTORY_LINES = 1000
DIM, PLAIN = "\x1b[2m", "\x1b[0m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="ask this and leave")
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    parser.add_argument(
        "--think",
        action=argparse.BooleanOptionalAction,
        help="let the model think first, or not; by default as its template has it",
    )


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    daemon = Daemon.find(home)
    conversation = Conversation(daemon, args.name, system=args.system, think=args.think)
    prompt = args.prompt
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    if prompt is not None:
        if not prompt.strip():
            raise Failure("there is nothing to ask: the prompt is empty")
        if sys.stderr.isatty():
            load_with_progress(daemon, args.name)
        write_answer(conversation, prompt)
        return 0
    load_with_progress(daemon, args.name)
    print(f"{harmless(args.name)} at {daemon.url}. /help lists the commands, Ctrl-D leaves.")
    _read_history(home.root / "history")
    try:
        converse(conversation)
    finally:
        _write_history(home.root / "history")
    return 0


def converse(conversation: Conversation) -> None:
    """Read and answer until Ctrl-D."""
    while True:
        try:
            text = _read()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print("\n(Ctrl-D leaves)")
            continue
        if not text.strip():
            continue
        if text.startswith("/"):
            print(obey(conversation, text))
            continue
        try:
            write_answer(conversation, text)
        except KeyboardInterrupt:
            print(f"{PLAIN if has_colours(sys.stdout) else ''}\n(stopped)")
        except Failure as failure:
            print(f"fastmlx: {failure}", file=sys.stderr)


def obey(conversation: Conversation, line: str) -> str:
    """Carry out a line that begins with "/"; returns what to say about it."""
    command, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    match command:
        case "/help":
            return HELP
        case "/clear":
            conversation.clear()
            return "forgotten"
        case "/system":
            conversation.system = rest or None
            return "system message set" if rest else "system message removed"
        case "/think" if rest in ("on", "off"):
            conversation.think = rest == "on"
            return f"thinking is {rest}"
        case "/think":
            return "say /think on or /think off"
    return f"there is no command {harmless(command)}; /help lists them"


def write_answer(conversation: Conversation, prompt: str) -> None:
    """Ask, and print the answer while it comes. Raises Failure, KeyboardInterrupt."""
    out, colours, shows_thinking = sys.stdout, has_colours(sys.stdout), sys.stdout.isatty()
    thinking = False
    at_line_start = True
    with closing(conversation.ask(prompt)) as pieces:
        for piece in pieces:
            if piece.is_thinking and not shows_thinking:
                continue
            text = harmless(piece.text)
            if piece.is_thinking != thinking:
                # An answer begins in a line of its own, without the template's blank lines.
                text = text.lstrip("\n")
                if not text:
                    continue
                thinking = piece.is_thinking
                if not thinking and not at_line_start:
                    out.write("\n\n")
                out.write((DIM if thinking else PLAIN) if colours else "")
            out.write(text)
            out.flush()
            at_line_start = text.endswith("\n") if text else at_line_start
    out.write(PLAIN if thinking and colours else "")
    if not at_line_start:
        out.write("\n")
    out.flush()
    if conversation.was_cut:
        print("(cut: the answer reached its limit)", file=sys.stderr)


def _read() -> str:
    """One input; a backslash at the end of a line continues it."""
    lines = [input("> ")]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input(". "))
    return "\n".join(lines)


def _read_history(path: Path) -> None:
    import readline  # makes input() edit lines, too

    readline.set_history_length(HISTORY_LINES)
    try:
        readline.read_history_file(path)
    except OSError:
        return  # the first time there is none


def _write_history(path: Path) -> None:
    import readline

    try:
        path.touch(mode=0o600)
        readline.write_history_file(path)
    except OSError as error:
        print(f"fastmlx: the history is not kept: {error}", file=sys.stderr)
