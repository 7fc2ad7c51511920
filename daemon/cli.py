"""The `fastmlx` command: which verbs there are, and how they end.

A verb is a module of `daemon.commands` with `add_arguments(parser)` and `run(args) -> int`. Only
the one that is asked for is imported, so that `fastmlx --help` and errors answer at once.

Exit status: 0 done, 1 it failed (one line on stderr says why), 2 it was asked wrongly, 130 Ctrl-C.
`serve` also has 78 for a config.yaml that is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from .commands.failure import Failure


class Verb(NamedTuple):
    summary: str  # for `fastmlx --help`
    module: str  # in daemon.commands
    passes_on: bool = False  # what stands behind -- belongs to another program


VERBS = {
    "serve": Verb("run the daemon in this terminal", "serve"),
    "check": Verb("say whether a config.yaml is right, and where it is not", "check"),
    "status": Verb("show the daemon, its models and the service", "status"),
    "list": Verb("list the declared models", "list"),
    "info": Verb("show a model's card: what it is, and what memory it takes", "info"),
    "pull": Verb("fetch a model from the Hugging Face Hub", "pull"),
    "load": Verb("load a model now", "load"),
    "unload": Verb("unload a model and give its memory back", "unload"),
    "run": Verb("chat with a model in the terminal", "run"),
    "cache": Verb("show or clear what prompts have left for the next ones", "cache"),
    "keys": Verb("make and manage API keys", "keys"),
    "password": Verb("set the dashboard's password", "password"),
    "bench": Verb("measure how fast a model computes prompts and answers", "bench"),
    "launch": Verb("start a coding agent against this server", "launch", passes_on=True),
    "top": Verb("watch the daemon, live", "top"),
    "menubar": Verb("show the daemon in macOS's menu bar", "menubar"),
    "doctor": Verb("look for what is wrong, and say what to do", "doctor"),
    "logs": Verb("show the daemon's log, or that of a model's engine", "logs"),
    "install": Verb("start the daemon at every login, as a service", "install"),
    "uninstall": Verb("stop and remove the service", "uninstall"),
    "restart": Verb("start the daemon again, refusing nobody meanwhile", "restart"),
}

DESCRIPTION = "A local LLM server: models declared in config.yaml, served through OpenAI's API."
EPILOG = """\
Start with `fastmlx serve`, then open http://127.0.0.1:6590 or try `fastmlx run demo`.
`fastmlx VERB --help` tells more. Everything lives in ~/.fastmlx (FASTMLX_HOME, --home)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        words, passed_on = _split(words)
        args = _parser(words).parse_args(words, argparse.Namespace(passed_on=passed_on))
        status = args.run(args)
        sys.stdout.flush()  # here, where a reader that has gone is no traceback
        return status
    except SystemExit as exit_of_argparse:
        return exit_of_argparse.code if isinstance(exit_of_argparse.code, int) else 1
    except Failure as failure:
        return _fail(str(failure))
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone; Python would complain at exit, too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}")


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """The words for us, and those behind --; argparse would mix them up with its own."""
    passes_on = bool(words) and words[0] in VERBS and VERBS[words[0]].passes_on
    if not passes_on or "--" not in words:
        return words, []
    end = words.index("--")
    return words[:end], words[end + 1 :]


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastmlx",
        usage="fastmlx [-h] [--version] VERB ...",
        description=DESCRIPTION,
        # Not argparse's own list: it breaks the line of the longest verb.
        epilog="\n".join(["verbs:", *_verb_lines(), "", EPILOG]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    verbs = parser.add_subparsers(
        prog="fastmlx", metavar="VERB", required=True, help=argparse.SUPPRESS
    )
    for name, verb in VERBS.items():
        below = verbs.add_parser(
            name,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        if name not in words:
            continue
        module = import_module(f"{__package__}.commands.{verb.module}")
        below.description = module.__doc__
        below.add_argument(
            "--home", metavar="FOLDER", help="instead of FASTMLX_HOME and ~/.fastmlx"
        )
        module.add_arguments(below)
        below.set_defaults(run=module.run)
    return parser


def _verb_lines() -> list[str]:
    width = max(map(len, VERBS))
    return [f"  {name.ljust(width)}  {verb.summary}" for name, verb in VERBS.items()]


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"fastmlx {version('fastmlx')}")
        parser.exit()


def _fail(message: str) -> int:
    print(f"fastmlx: {message}", file=sys.stderr)
    return 1
