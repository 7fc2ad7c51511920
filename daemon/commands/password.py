"""Set the dashboard's password, or remove it. Who is signed in has to sign in again.

Asks twice on a terminal; else the first line of stdin is the password. It is never an argument:
those are for every program of this machine to see."""

from __future__ import annotations

import argparse
import getpass
import sys

from msgspec.structs import replace

from ...config.errors import ConfigError
from ...config.paths import Home
from ..access.file import change
from ..access.passwords import check_new, hashed
from ..protocol.errors import FastMLXError
from .failure import Failure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--remove", action="store_true", help="the dashboard has none from now on")


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    try:
        kept = None if args.remove else hashed(check_new(_asked()))
        home.create()
        change(home, lambda before: replace(before, password=kept))
    except FastMLXError as error:
        raise Failure(error.message) from None
    except ConfigError as error:
        raise Failure(str(error)) from None
    print("the dashboard has no password now" if args.remove else "the password is set")
    return 0


def _asked() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("New password: ")
    if first != getpass.getpass("Again: "):
        raise Failure("the two are not the same")
    return first
