"""`python -m fastmlx.daemon.engine --fd N`: run by the front, never by a person.

`--rank I` instead of `--fd N` is run by the engine of a model that is split over several processes.
"""

from __future__ import annotations

import argparse
import faulthandler
import socket
import sys


def main() -> int:
    """Serves one model over the inherited socket; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="fastmlx.daemon.engine",
        description="Serves one model to the fastmlx daemon over an inherited socket.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--fd", type=int, help="the connected stream socket")
    which.add_argument("--rank", type=int, help="serve rank 0 over stdin and stdout as this rank")
    arguments = parser.parse_args()
    # A fault, or SIGABRT from the front, leaves the place in the log; of one thread, so that what a
    # library said before stays among the last lines.
    faulthandler.enable(all_threads=False)
    if arguments.rank is not None:
        from .ranks import follower

        return follower.run(arguments.rank)
    try:
        connection = socket.socket(fileno=arguments.fd)
    except OSError as error:
        print(f"file descriptor {arguments.fd} is not a socket: {error}", file=sys.stderr)
        return 2
    from .loop import run

    return run(connection)


if __name__ == "__main__":
    sys.exit(main())
