"""No server that other machines reach without a key."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from ...config.document import Problem, index_of, line_and_column, parse
from ...config.errors import ConfigError
from ...config.load import read_text
from .access import Access
from .rules import is_loopback

HINT = "create one with `fastmlx keys create NAME`, or let it listen on 127.0.0.1"


def is_exposed(host: str) -> bool:
    """Whether other machines reach a server that listens on `host`, an address or a name. One that
    cannot be looked up is; then nothing can listen there either."""
    if is_loopback(host):
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True
    return not all(is_loopback(str(entry[4][0])) for entry in found)


def refuse_exposed(access: Access, path: Path, host: str, *, in_file: bool = True) -> None:
    """Raises ConfigError when `host`, which the configuration at `path` says unless it comes from
    elsewhere, would open a server without a key to other machines."""
    if access.has_keys or not is_exposed(host):
        return
    line = column = None
    if in_file:
        with contextlib.suppress(ConfigError, Problem):
            text = read_text(path)
            line, column = line_and_column(text, index_of(parse(text), ("server", "host")))
    message = f"{host} can be reached from other machines, and there is no API key"
    raise ConfigError(path, line, column, "server.host", message, HINT)
