"""`python -m fastmlx.daemon.engine --fd N`: run by the front, never by a person."""

from __future__ import annotations

import argparse
import socket
import sys


def main() -> int:
    """Serves one model over the inherited socket; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="fastmlx.daemon.engine",
        description="Serves one model to the fastmlx daemon over an inherited socket.",
    )
    parser.add_argument("--fd", type=int, required=True, help="the connected stream socket")
    arguments = parser.parse_args()
    try:
        connection = socket.socket(fileno=arguments.fd)
    except OSError as error:
        print(f"file descriptor {arguments.fd} is not a socket: {error}", file=sys.stderr)
        return 2
    from .loop import run

    return run(connection)


if __name__ == "__main__":
    sys.exit(main())
