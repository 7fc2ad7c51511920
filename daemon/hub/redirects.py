"""Where the Hub may lead us: its files lie on other machines, but never in a network of ours.

Whoever answers for the Hub could else have this machine ask what only it can reach: a router, a
cloud's metadata, a program that listens on loopback.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..protocol.errors import DownloadFailed
from .reach import Address, may_lead

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_lock = threading.Lock()


def guard() -> None:
    """Every request of the Hub's client, also where it is led to, is checked before it is sent.

    The client's session may have been made anew since the last time: call this before each use.
    """
    from huggingface_hub import get_session

    hooks = get_session().event_hooks["request"]
    with _lock:
        if _check not in hooks:
            hooks.append(_check)


def hub_api() -> HfApi:
    """The client for questions, guarded."""
    from huggingface_hub import HfApi

    guard()
    return HfApi(library_name="fastmlx")


def _check(request: Any) -> None:
    check(str(request.url))
    host = urlsplit(str(request.url)).hostname or ""
    request.extensions = {**request.extensions, "trace": _at_connect(host)}


def check(url: str) -> None:
    """Blocking: may ask the system what address a name has. Raises DownloadFailed."""
    host = urlsplit(url).hostname or ""
    if host != _hub():
        _permit(host, _addresses(host))


def _at_connect(host: str) -> Callable[[str, Any], None]:
    """Looks again where the connection has got to, before anything is sent: the name may have
    another address than a moment ago (DNS rebinding). A proxy is the owner's choice.

    Source: https://www.encode.io/httpcore/extensions/#trace
    """
    connects_to = ""

    def look(event: str, told: Any) -> None:
        nonlocal connects_to
        if event == "connection.connect_tcp.started":
            connects_to = told["host"]
        elif event == "connection.connect_tcp.complete" and connects_to == host != _hub():
            stream = told["return_value"]
            try:
                _permit(host, [_address(stream.get_extra_info("server_addr")[0])])
            except DownloadFailed:
                stream.close()
                raise

    return look


def _hub() -> str:
    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).hostname or ""


def _permit(host: str, addresses: list[Address]) -> None:
    if not may_lead(_addresses(_hub()), addresses):
        raise DownloadFailed(
            f"The Hub leads to {host[:200]}, an address within a network of this machine. "
            "Nothing was fetched from there."
        )


def _addresses(host: str) -> list[Address]:
    """None for a name that is unknown here: then only a proxy can reach it, or nobody."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [_address(str(each[4][0])) for each in found]


def _address(text: str) -> Address:
    """A link-local one may name its interface: fe80::1%eth0."""
    return ip_address(text.partition("%")[0])
