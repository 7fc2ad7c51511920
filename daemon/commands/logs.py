"""Show the end of the log of the daemon and its engines, for people.

With MODEL only what that model's engine said and printed, with --request only what concerns one
request: the id that its answer has, or the one in its header x-request-id."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from ...config.errors import ConfigError
from ...config.paths import Home
from ..logs.entry import LEVELS, Entry, Wanted, encode, for_people
from ..logs.read import follow, last
from .failure import Failure
from .terminal import has_colours


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a declared model, or its alias")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="go on with what is written, until Ctrl-C"
    )
    parser.add_argument(
        "-n", "--lines", type=_count, default=100, metavar="N", help="how many entries (100)"
    )
    parser.add_argument(
        "--level", choices=LEVELS, default=LEVELS[0], help="this one and what is worse"
    )
    parser.add_argument("--request", metavar="ID", help="what concerns this request")
    parser.add_argument("--grep", metavar="TEXT", help="entries that hold this text, in any case")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line, as they are in the file"
    )


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    path = home.log_file
    if not path.exists() and not args.follow:
        raise Failure(f"the daemon has written no log yet: {path}")
    model = None if args.model is None else _declared(home, args.model)
    wanted = Wanted(args.level, args.request, model, args.grep)
    try:
        _show(
            follow(path, wanted, args.lines) if args.follow else last(path, args.lines, wanted),
            as_json=args.json,
        )
    except KeyboardInterrupt:
        if not args.follow:
            raise
    return 0


def _show(entries: Iterable[Entry], *, as_json: bool) -> None:
    colours = has_colours(sys.stdout)
    for entry in entries:
        line = encode(entry) if as_json else for_people(entry, colours=colours)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def _declared(home: Home, name: str) -> str:
    """The name of the model that `name` means; `name` itself for one that is no longer declared."""
    from ...config.load import load_file

    try:
        found = load_file(home.config).find(name)
    except (ConfigError, OSError):
        found = None  # a broken file must not keep anybody from reading a log
    return name if found is None else found.name


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of entries")
    return int(text)
