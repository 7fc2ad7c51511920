"""Runs a server's program, and ends it when the daemon is gone. A script of its own:

    python -I -S minder.py DAEMON_PID COMMAND ARGUMENT …

A program that heeds the end of its stdin needs nobody. Others (a shell around it, npx, what hangs)
would stay behind when the daemon is killed by a signal that it cannot handle. So this process
stands between: same stdin, stdout and process group, and it sleeps until either of them ends.

    the program ends     the rest of its group is asked to end; its exit status is ours
    the daemon ends      a moment for the end of stdin to be heeded; SIGTERM; SIGKILL to the group

Only the standard library, and as little of it as can be: it must start fast and stay small.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

PATIENCE_S = 2.0
LAST_S = 0.1  # for what the program left behind
POLL_S = 0.5  # where the kernel cannot wait for two processes at once


def main() -> None:
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # meant for the program; we end when it does
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)  # noqa: S606 (what mcp.json names is to be run)
        except OSError as error:
            os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)  # else the pipes would never be seen to end
    os.dup2(nothing, 1)
    if wait_for_one(parent, child):
        _, status = os.waitpid(child, 0)
        signal_group(signal.SIGTERM)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    wait_for_child(child, PATIENCE_S)
    signal_group(signal.SIGTERM)
    wait_for_child(child, PATIENCE_S)
    time.sleep(LAST_S)
    signal_group(signal.SIGKILL)  # us as well


def wait_for_child(child: int, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    with contextlib.suppress(ChildProcessError):  # it has been waited for already
        while os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.02)


def signal_group(number: signal.Signals) -> None:
    # The daemon starts us as the leader of a group. Should that ever change, it is not our group.
    if os.getpgrp() == os.getpid():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(0, number)


def wait_for_one(parent: int, child: int) -> bool:
    """Sleeps until one of the two has ended; whether it was the child."""
    if hasattr(select, "kqueue"):
        return _wait_kqueue(parent, child)
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):  # a kernel or sandbox without it
            return _wait_pidfd(parent, child)
    while os.getppid() == parent:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(POLL_S)
    return False


def _wait_pidfd(parent: int, child: int) -> bool:
    theirs, ours = os.pidfd_open(parent), os.pidfd_open(child)
    if os.getppid() != parent:  # it was another's id already
        return False
    poll = select.poll()
    poll.register(theirs, select.POLLIN)
    poll.register(ours, select.POLLIN)
    return any(ready == ours for ready, _ in poll.poll())


def _wait_kqueue(parent: int, child: int) -> bool:
    queue = select.kqueue()  # pyright: ignore[reportAttributeAccessIssue]
    for pid in (child, parent):
        event = select.kevent(  # pyright: ignore[reportAttributeAccessIssue]
            pid,
            filter=select.KQ_FILTER_PROC,  # pyright: ignore[reportAttributeAccessIssue]
            flags=select.KQ_EV_ADD | select.KQ_EV_ONESHOT,  # pyright: ignore[reportAttributeAccessIssue]
            fflags=select.KQ_NOTE_EXIT,  # pyright: ignore[reportAttributeAccessIssue]
        )
        try:
            queue.control([event], 0)
        except ProcessLookupError:
            return pid == child
    if os.getppid() != parent:
        return False
    return any(event.ident == child for event in queue.control(None, 1))


if __name__ == "__main__":
    main()
