"""Watch the daemon live: CPU, memory, GPU where it is known, models, requests, tokens a second.

q quits. Into a pipe, or with --once, it prints once. It does not start a daemon that waits for a
connection, and counts as no use of one."""

from __future__ import annotations

import argparse
import curses
import shutil
import sys
import time
from typing import Any

from ...config.paths import Home
from ..watching.machine import look
from ..watching.screen import screen
from .client import Daemon
from .failure import Failure
from .terminal import harmless

EVERY_S = 1.0
CPU_S = 0.2  # to measure the CPU where it is printed once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print once, and end")


def run(args: argparse.Namespace) -> int:
    home = Home.find(args.home)
    look()  # the CPU's use is measured from one look to the next
    if args.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        time.sleep(CPU_S)
        status = _status(home)
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 200
        print(harmless("\n".join(screen(status, look(), width))))
        return 0 if status is not None else 1
    try:
        curses.wrapper(_watch, home)
    except curses.error as error:
        raise Failure(f"this terminal cannot be drawn on ({error}); try --once") from None
    except KeyboardInterrupt:
        pass
    return 0


def _status(home: Home) -> dict[str, Any] | None:
    try:
        return Daemon.find(home, wake=False).get("/api/status")
    except Failure:
        return None


def _watch(window: curses.window, home: Home) -> None:
    curses.curs_set(0)
    window.timeout(round(EVERY_S * 1000))
    while True:
        height, width = window.getmaxyx()
        lines = screen(_status(home), look(), width - 1)
        window.erase()
        for row, line in enumerate([*lines[: height - 2], "", "q quits"][:height]):
            window.addnstr(row, 0, harmless(line), max(1, width - 1))
        window.refresh()
        if window.getch() in (ord("q"), ord("Q"), 27):
            return
