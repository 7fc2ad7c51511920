"""Arguments that several verbs take, said once."""

from __future__ import annotations

import argparse


def add_model(parser: argparse.ArgumentParser) -> None:
    """`args.name`"""
    parser.add_argument("name", metavar="NAME", help="a declared model, or one of its aliases")


def add_json(parser: argparse.ArgumentParser, what: str = "one JSON object") -> None:
    """`args.json`"""
    parser.add_argument("--json", action="store_true", help=f"print {what}, for programs")
