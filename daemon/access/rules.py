"""Which right a request needs; pure functions of method, path, headers and address."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from ..protocol.caller import Scope

# Ollama's paths lie under /api like ours.
_OLLAMA = frozenset(
    f"/api/{name}"
    for name in ("chat", "generate", "embed", "embeddings", "tags", "ps", "show", "version")
)
_FIGURES = frozenset({"/metrics", "/api/status", "/api/cache", "/api/usage"})
_OPEN = frozenset({"/", "/health", "/admin/login"})
_INFERENCE = ("/v1/", "/v2/")
_INFERENCE_PATHS = frozenset(
    {"/tokenize", "/detokenize", "/apply-template", "/openapi.json", "/version", "/mcp"}
)
# Who sends one of these stands behind a proxy: the peer's address is not the client's.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-host")


def scope_of(method: str, path: str) -> Scope | None:
    """None: anybody may. What is not listed needs the highest right.

    The router takes a path with slashes at its end for the one without: so do we.
    """
    path = path.rstrip("/") or "/"
    if path in _OPEN or path.startswith("/admin/static/") or method == "OPTIONS":
        return None
    reads = method in ("GET", "HEAD")
    if path in _FIGURES and reads:
        return Scope.METRICS
    if path == "/v1/mcp/execute":
        return Scope.TOOLS
    if path.startswith("/v1/mcp/servers/") and not reads:
        return Scope.ADMIN
    if path in _OLLAMA or path in _INFERENCE_PATHS or path.startswith(_INFERENCE):
        return Scope.INFERENCE
    return Scope.ADMIN


def is_page(path: str) -> bool:
    """Of the dashboard, which people see and sign in to."""
    return path == "/admin" or path.startswith("/admin/")


@lru_cache(maxsize=256)
def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address. A name that is no address is not ours to
    judge, but localhost."""
    if address.lower() == "localhost":
        return True
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def is_direct(headers: Mapping[str, str], peer: str) -> bool:
    """Whether the request comes from a program of this machine, as far as can be told. `headers`
    needs lower-case names."""
    return is_loopback(peer) and not any(name in headers for name in _FORWARDED)


def presented(headers: Mapping[str, str]) -> str | None:
    """The API key that a request carries: `Authorization: Bearer` (OpenAI's clients, Ollama's) or
    `x-api-key` (Anthropic's)."""
    kind, _, secret = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and secret.strip():
        return secret.strip()
    return headers.get("x-api-key", "").strip() or None
