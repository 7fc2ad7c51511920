"""Make and manage API keys. Once there is one, every request needs one.

`fastmlx keys create NAME` prints the key, once: only a hash of it is kept. It works with and
without a daemon that runs, which takes note at once. `keys rotate` puts a new key in the place of
an old one, `keys limit` gives a key other limits (all of them: what is not named is lifted)."""

from __future__ import annotations

import argparse
import json
import sys
import time

from ...config.errors import ConfigError
from ...config.paths import Home
from ..access import edits
from ..access.file import read
from ..access.keys import Key, Limits
from ..protocol.caller import Scope
from ..protocol.errors import FastMLXError
from .arguments import add_json
from .failure import Failure
from .terminal import harmless, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(
        dest="what", metavar="create | list | limit | rotate | revoke | delete", required=True
    )
    create = verbs.add_parser("create", help="make a key and print it, this once")
    listed = verbs.add_parser("list", help="what each key may do, and when it was last used")
    limit = verbs.add_parser("limit", help="give a key other limits")
    rotate = verbs.add_parser("rotate", help="print a new key in the place of the old one")
    revoke = verbs.add_parser("revoke", help="let nobody in with it any more")
    delete = verbs.add_parser("delete", help="forget it; without any key the server is open again")
    for verb in (create, limit, rotate, revoke, delete):
        verb.add_argument("name", metavar="NAME", help="of a person, device or program")
    for verb in (create, limit):
        verb.add_argument(
            "--scope",
            action="append",
            choices=list(Scope),
            help="what it may do (default: inference); may be repeated",
        )
        verb.add_argument(
            "--model",
            action="append",
            metavar="NAME",
            help="a model that it may use, by any of its names, `*` stands for any text; may be "
            "repeated (default: all)",
        )
        verb.add_argument("--tokens-per-day", type=int, metavar="N", help="of prompts and outputs")
        verb.add_argument("--requests-per-day", type=int, metavar="N")
        verb.add_argument("--expires", metavar="WHEN", help="after `30d`, or on `2027-01-31`")
    for verb in (create, listed, rotate):
        add_json(verb, "JSON")


def run(args: argparse.Namespace) -> int:
    try:
        return _run(Home.find(args.home), args)
    except FastMLXError as error:
        raise Failure(error.message) from None
    except ConfigError as error:
        raise Failure(str(error)) from None


def _run(home: Home, args: argparse.Namespace) -> int:
    match args.what:
        case "create":
            home.create()
            _tell(args, *edits.create(home, args.name, _limits(args)))
        case "rotate":
            _tell(args, *edits.rotate(home, args.name))
        case "limit":
            _say(f"changed the key {edits.limit(home, args.name, _limits(args)).name}")
        case "revoke":
            _say(f"revoked the key {edits.revoke(home, args.name).name}")
        case "delete":
            edits.delete(home, args.name)
            _say(f"deleted the key {args.name}")
            if not read(home).keys:
                _say("no key is left: on loopback the API is open to every program here")
        case _:
            keys, now_ms = read(home).keys, edits.now_ms()
            if args.json:
                print(json.dumps([key.public(now_ms) for key in keys], indent=2))
            else:
                print(harmless(_shown(keys, now_ms)))
    return 0


def _limits(args: argparse.Namespace) -> Limits:
    from ..access.expiry import expiry_ms  # which needs pydantic: not for --help

    return Limits(
        scopes=tuple(map(Scope, dict.fromkeys(args.scope or (Scope.INFERENCE,)))),
        models=None if args.model is None else tuple(args.model),
        tokens_per_day=args.tokens_per_day,
        requests_per_day=args.requests_per_day,
        expires_ms=expiry_ms(args.expires, edits.now_ms()),
    )


def _tell(args: argparse.Namespace, secret: str, key: Key) -> None:
    """The key alone on stdout, so that a script can take it."""
    if args.json:
        print(json.dumps({"key": secret, **key.public(edits.now_ms())}, indent=2))
        return
    print(secret)
    _say(f"the key {key.name}: this is the only time that it is shown")


def _say(text: str) -> None:
    print(harmless(text), file=sys.stderr)


def _shown(keys: tuple[Key, ...], now_ms: int) -> str:
    if not keys:
        return "There are no keys: on loopback every program of this machine may use the server."
    rows = [("NAME", "KEY", "STATE", "MAY", "MODELS", "A DAY", "EXPIRES", "LAST USED")]
    for key in keys:
        budgets = [
            f"{bound:,} {what}"
            for bound, what in (
                (key.tokens_per_day, "tokens"),
                (key.requests_per_day, "requests"),
            )
            if bound is not None
        ]
        rows.append(
            (
                key.name,
                f"{key.prefix}…",
                key.state(now_ms),
                ", ".join(key.scopes),
                "all" if key.models is None else ", ".join(key.models) or "none",
                ", ".join(budgets) or "-",
                _day(key.expires_ms),
                _day(key.last_used_ms),
            )
        )
    return table(rows)


def _day(at_ms: int | None) -> str:
    return "-" if at_ms is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at_ms / 1000))
