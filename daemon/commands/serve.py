"""Run the daemon in this terminal, until Ctrl-C. `fastmlx install` does the same as a service.

The first start writes a commented config.yaml into FASTMLX_HOME; edits of it take effect while
the daemon runs."""

from __future__ import annotations

import argparse

from ...config.paths import Home


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on, instead of server.host")
    parser.add_argument(
        "--port", type=_port, metavar="N", help="instead of server.port; 0 takes any free one"
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        help="instead of server.log_level",
    )


def run(args: argparse.Namespace) -> int:
    from ..app import run as run_daemon

    return run_daemon(
        Home.find(args.home), host=args.host, port=args.port, log_level=args.log_level
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: a number from 0 to 65535")
    return int(text)
