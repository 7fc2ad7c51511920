"""Who may talk to us, as pure functions of headers.

Two attacks reach a server on localhost through the user's own browser. A page of another site can
send it requests (the browser names the page in `Origin`), and a site can point its own name at
127.0.0.1 and become "same origin" (DNS rebinding; the browser names the site in `Host`). So state
may be changed only by pages of ours and of `server.cors_origins`, and `Host` must be a name that
nobody else's DNS can point here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from .protocol.errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# Suffixes that public DNS does not serve, but whoever is in the same network may: mDNS, routers.
PRIVATE_SUFFIXES = (".local", ".internal", ".lan", ".home.arpa")
# How containers on this machine call it.
_FROM_CONTAINERS = ("host.docker.internal", "gateway.docker.internal", "host.containers.internal")
CORS_MAX_AGE_S = 600
_HOST = re.compile(r"^(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:/@\s]+))(?::\d{1,5})?$")


def check_request(
    method: str,
    headers: Mapping[str, str],
    *,
    bound_host: str,
    cors_origins: Collection[str],
    machine: str = "",
    exposed: bool = False,
) -> None:
    """Raises Forbidden for a Host that is not ours, and for a change asked for by a foreign page.

    `headers` needs lower-case names. Programs send no Origin and are not concerned. `machine` is
    its name; `exposed`: other machines reach the server, which then lets nobody in without a key.
    """
    host = headers.get("host")
    if host and not is_our_host(
        host, bound_host=bound_host, cors_origins=cors_origins, machine=machine, exposed=exposed
    ):
        raise Forbidden(
            f"The Host header names '{host[:100]}', which is not this server. Use localhost or an "
            "IP address, or list the origin under server.cors_origins."
        )
    if method in SAFE_METHODS:
        return
    origin = headers.get("origin")
    if origin is not None and not is_our_page(origin, host, cors_origins=cors_origins):
        raise Forbidden(
            f"Pages of '{origin[:100]}' may not use this server. To allow it, list it under "
            "server.cors_origins."
        )
    if origin is None and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise Forbidden("Pages of other sites may not use this server.")


def is_our_host(
    host: str,
    *,
    bound_host: str,
    cors_origins: Collection[str],
    machine: str = "",
    exposed: bool = False,
) -> bool:
    """IP addresses, localhost, this machine's name, the address that we are bound to, and the hosts
    of listed origins. A server that is `exposed` has other names in its network, too, and no harm
    comes from who claims one: his page has neither a key nor the cookie of another name."""
    found = _HOST.match(host)
    if found is None:
        return False
    if found["v6"]:
        return _is_address(found["v6"])
    name = found["name"].lower().rstrip(".")
    if _is_address(name) or name == bound_host.lower():
        return True
    if name == "localhost" or name.endswith(".localhost") or name in _FROM_CONTAINERS:
        return True
    if "." not in name or name.endswith(PRIVATE_SUFFIXES):
        first, mine = name.partition(".")[0], machine.lower().partition(".")[0]
        if exposed or first == mine:
            return True
    return any(urlsplit(origin).hostname == name for origin in cors_origins)


def is_our_page(origin: str, host: str | None, *, cors_origins: Collection[str]) -> bool:
    """Whether a page of `origin` may change something: it came from us, or is listed."""
    if allows_origin(origin, cors_origins):
        return True
    try:
        place = urlsplit(origin).netloc
    except ValueError:  # brackets that are none
        return False
    return host is not None and place.lower() == host.lower()


def allows_origin(origin: str, cors_origins: Collection[str]) -> bool:
    return "*" in cors_origins or origin.rstrip("/") in {
        listed.rstrip("/") for listed in cors_origins
    }


def cors_headers(headers: Mapping[str, str], cors_origins: Collection[str]) -> dict[str, str]:
    """What lets a page of a listed origin read the answer; nothing for all others."""
    origin = headers.get("origin")
    if origin is None or not cors_origins or not allows_origin(origin, cors_origins):
        return {}
    return {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": "x-request-id, retry-after",
        "vary": "origin",
    }


def preflight_headers(headers: Mapping[str, str], cors_origins: Collection[str]) -> dict[str, str]:
    """The answer to a browser's question before a request (OPTIONS); empty refuses."""
    allowed = cors_headers(headers, cors_origins)
    if not allowed:
        return {}
    asked = headers.get("access-control-request-headers", "authorization, content-type")
    return allowed | {
        "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
        "access-control-allow-headers": asked,
        "access-control-max-age": str(CORS_MAX_AGE_S),
    }


@lru_cache(maxsize=256)
def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
