"""Fetch a model from the Hugging Face Hub into its cache, where every program finds it.

What is already there is not fetched again. Gated models need HF_TOKEN or `hf auth login`."""

from __future__ import annotations

import argparse
import sys
import time

from ...config.paths import looks_like_folder
from .failure import Failure
from .terminal import size

SHOW_EVERY_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="organisation/name on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit")


def run(args: argparse.Namespace) -> int:
    from ..hub.download import pull
    from ..protocol.errors import ModelFailed

    if looks_like_folder(args.id) or args.id.startswith("builtin:"):
        raise Failure(f"{args.id} is not on the Hub; a folder needs no pull")
    progress = _Progress()
    try:
        folder = pull(args.id, args.revision, progress)
    except ModelFailed as error:
        raise Failure(error.message) from None
    finally:
        progress.end()
    print(folder)
    return 0


class _Progress:
    """One line on a terminal, nothing elsewhere. Called from several threads."""

    def __init__(self) -> None:
        self._shown_at = 0.0
        self._shown = False

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or now - self._shown_at < SHOW_EVERY_S:
            return
        self._shown_at, self._shown = now, True
        share = f" ({done_bytes / total_bytes:.0%})" if total_bytes else ""
        line = f"\r\x1b[K{size(done_bytes)} of {size(total_bytes)}{share}"
        print(line, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
