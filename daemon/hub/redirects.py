"""Where the Hub may lead us: its files lie on other machines, but never in a network of ours.

Whoever answers for the Hub could else have this machine ask what only it can reach: a router, a
cloud's metadata, a program that listens on loopback.
"""

from __future__ import annotations

import socket
import threading
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


def check(url: str) -> None:
    """Blocking: may ask the system what address a name has. Raises DownloadFailed."""
    from huggingface_hub import constants

    hub, target = urlsplit(constants.ENDPOINT).hostname or "", urlsplit(url).hostname or ""
    if target == hub or may_lead(_addresses(hub), _addresses(target)):
        return
    raise DownloadFailed(
        f"The Hub leads to {target[:200]}, an address within a network of this machine. "
        "Nothing was fetched from there."
    )


def _addresses(host: str) -> list[Address]:
    """None for a name that is unknown here: then only a proxy can reach it, or nobody."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    # A link-local address may name its interface: fe80::1%eth0.
    return [ip_address(str(each[4][0]).partition("%")[0]) for each in found]
