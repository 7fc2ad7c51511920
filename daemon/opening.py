"""What a daemon takes for itself before it serves: its home and its port."""

from __future__ import annotations

import contextlib
import fcntl
import json
import resource
import socket
import time

from ..config.paths import Home

BACKLOG = 1024  # connections that may wait to be accepted
MANY_FILES = (65_536, 10_240)


class StartError(Exception):
    """The daemon cannot start; the message is one line for the user."""


@contextlib.contextmanager
def lock(home: Home, *, patience_s: float = 0.0):
    """Holds the home for this process; the kernel gives it back whatever happens.

    Raises StartError when another daemon has it for longer than `patience_s`. Blocks.
    """
    deadline = time.monotonic() + patience_s
    with (home.run / "daemon.lock").open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    other = f"another daemon runs on {home.root}{_whose(home)}"
                    raise StartError(other) from None
                time.sleep(0.05)
        yield


def _whose(home: Home) -> str:
    try:
        said = json.loads(home.server_json.read_text("utf-8"))
        return f" (pid {said['pid']}, {said['url']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def allow_many_files() -> None:
    """Lets this process, and the engines, open as many files as the system lets it: macOS starts
    programs with 256, and a connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in MANY_FILES:  # macOS refuses what is beyond its OPEN_MAX
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft == resource.RLIM_INFINITY or soft >= most:
            return
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises StartError that names the address."""
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
        )
        # "localhost" means IPv4 to most clients' configuration.
        family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
        dual = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(
            address[:2],  # pyright: ignore[reportArgumentType]
            family=family,
            backlog=BACKLOG,
            dualstack_ipv6=dual,
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise StartError(f"port {port} on {host} cannot be opened: {reason}") from None


def url_of(listener: socket.socket) -> str:
    """How this machine reaches the listener."""
    host: str
    host, port = listener.getsockname()[:2]
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def say_where(home: Home, url: str, pid: int | None = None, started_at: float = 0.0) -> None:
    """run/server.json, by which the other verbs find the daemon; whole or not at all.

    Without `pid` nobody runs, but the socket is open: a connection to it starts the daemon, or
    waits for the one that is starting. `started_at`: Unix time. Raises OSError.
    """
    new = home.server_json.with_suffix(".new")
    new.write_text(json.dumps({"pid": pid, "url": url, "started_at": started_at}), "utf-8")
    new.replace(home.server_json)
