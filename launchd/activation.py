"""Listening sockets that somebody else opened: systemd, launchd, or this program before it was
executed again.

systemd passes them from file descriptor 3 on and says so in LISTEN_FDS and LISTEN_PID
(sd_listen_fds(3)). launchd keeps them until they are asked for by name (launch(3),
`launch_activate_socket`). `pass_on` speaks systemd's way to the next program of the same process,
which is how a restart refuses no connection: the socket is open all the time.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, NamedTuple, NoReturn

FIRST = 3
NAME = "Listener"  # of the socket in the LaunchAgent's property list
OURS = "FASTMLX_PASSED_ON"
LISTEN = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")

Manager = Literal["systemd", "launchd"]
Address = tuple[str, int]  # host and port as they were asked for


class HandedOver(NamedTuple):
    """A listening socket that was not opened here."""

    listener: socket.socket
    manager: Manager | None  # who keeps it open when we end; None: nobody, it was our own
    asked: Address | None  # what it was opened for, where it was our own


def take(
    environ: MutableMapping[str, str] = os.environ,
    *,
    platform: str = sys.platform,
    launchd: Callable[[str], list[int]] | None = None,
) -> HandedOver | None:
    """The socket that was handed over to this process, or None. Call it once, early: it takes the
    variables out of `environ`, so that no child believes them to be its own.

    Raises OSError for a file descriptor that is no listening TCP socket.
    """
    numbers, manager, asked = _of_systemd(environ)
    if not numbers and platform == "darwin":
        numbers, manager = (launchd or of_launchd)(NAME), "launchd"
    sockets = [_listening(number) for number in numbers]
    if not sockets:
        return None
    for surplus in sockets[1:]:  # we serve one address
        surplus.close()
    return HandedOver(sockets[0], manager, asked)


def _of_systemd(
    environ: MutableMapping[str, str],
) -> tuple[list[int], Manager | None, Address | None]:
    count, pid, _ = (environ.pop(name, "") for name in LISTEN)
    passed_on = environ.pop(OURS, "")
    if not count.isdigit() or pid != str(os.getpid()):
        return [], None, None
    numbers = list(range(FIRST, FIRST + int(count)))
    if not passed_on:
        return numbers, "systemd", None
    said = json.loads(passed_on)
    asked = said["asked"]
    return numbers, said["manager"], None if asked is None else (str(asked[0]), int(asked[1]))


def _listening(number: int) -> socket.socket:
    os.set_inheritable(number, False)
    found = socket.socket(fileno=number)
    accepts = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if found.family not in (socket.AF_INET, socket.AF_INET6) or not accepts:
        found.close()
        raise OSError(errno.ENOTSOCK, f"file descriptor {number} is no listening TCP socket")
    found.setblocking(False)
    return found


def of_launchd(name: str, library: Any = None) -> list[int]:
    """The file descriptors of the socket `name` in our property list; none when there is no such
    entry or launchd did not start us. `library`: of C, with Apple's launch_activate_socket."""
    if library is None:
        library = ctypes.CDLL(None)
    ask = library.launch_activate_socket
    ask.argtypes = (
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.POINTER(ctypes.c_int)),
        ctypes.POINTER(ctypes.c_size_t),
    )
    ask.restype = ctypes.c_int
    numbers = ctypes.POINTER(ctypes.c_int)()
    count = ctypes.c_size_t()
    status = ask(name.encode(), ctypes.byref(numbers), ctypes.byref(count))
    # ENOENT: no such entry. ESRCH: not run by launchd. EALREADY: taken before.
    if status in (errno.ENOENT, errno.ESRCH, errno.EALREADY):
        return []
    if status != 0:
        raise OSError(status, f"launchd's socket: {os.strerror(status)}")
    try:
        return list(numbers[: count.value])
    finally:
        library.free.argtypes = (ctypes.c_void_p,)
        library.free.restype = None
        library.free(numbers)


def pass_on(listener: socket.socket, manager: Manager | None, asked: Address | None) -> NoReturn:
    """Execute this program again, in this process, with the same words and with `listener`.

    Connections that come meanwhile wait in the socket. Nothing else survives: whoever calls has
    closed what must be closed. Raises OSError when Python is no longer where it was.
    """
    os.dup2(listener.fileno(), FIRST)
    os.set_inheritable(FIRST, True)  # dup2 leaves it alone where both are one
    passed_on = json.dumps({"manager": manager, "asked": asked})
    environ = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), OURS: passed_on}
    # Ignored signals stay so: a second request to restart must not end what only just begins.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)  # noqa: S606
