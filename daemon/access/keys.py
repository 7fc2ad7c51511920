"""API keys as values: made, recognised, checked.

A key is 256 random bits. Nobody can guess it or find it in a table, so one round of SHA-256 keeps
it as safe as a slow hash would, which is for passwords and would cost every request some 50 ms.
Digests are compared in constant time all the same.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence

import msgspec

from ..protocol.caller import Scope
from ..protocol.errors import BadRequest

PREFIX = "sk-fastmlx-"
SHOWN = len(PREFIX) + 5  # characters of a key by which its owner recognises it
MAX_NAME = 60
MAX_MODELS = 100
MAX_BUDGET = 10**15
_NAME = re.compile(r"[^\W_](?:[\w .@+-]*[\w.@+-])?")


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One API key, without the key. Times: milliseconds since the epoch; None: never."""

    name: str  # of its owner or device; usage rows carry it
    digest: str  # SHA-256 of the key, hexadecimal
    prefix: str  # its first characters
    scopes: tuple[Scope, ...] = (Scope.INFERENCE,)
    models: tuple[str, ...] | None = None  # names and patterns with `*`; None: all
    tokens_per_day: int | None = None  # of prompts and outputs together; None: no bound
    requests_per_day: int | None = None
    created_ms: int = 0
    expires_ms: int | None = None
    revoked_ms: int | None = None
    last_used_ms: int | None = None

    def state(self, now_ms: int) -> str:
        """ "active", "expired" or "revoked"."""
        if self.revoked_ms is not None:
            return "revoked"
        if self.expires_ms is not None and self.expires_ms <= now_ms:
            return "expired"
        return "active"

    def public(self, now_ms: int) -> dict[str, object]:
        """What may be shown: everything but the digest."""
        shown = msgspec.to_builtins(self)
        del shown["digest"]
        return shown | {"state": self.state(now_ms)}


class Limits(msgspec.Struct, kw_only=True):
    """What a key may do, as it was asked for."""

    scopes: tuple[Scope, ...] = (Scope.INFERENCE,)
    models: tuple[str, ...] | None = None
    tokens_per_day: int | None = None
    requests_per_day: int | None = None
    expires_ms: int | None = None

    def check(self) -> None:
        """Raises BadRequest."""
        if not self.scopes:
            raise BadRequest(f"scopes: at least one of {', '.join(Scope)}.", param="scopes")
        if self.models is not None and len(self.models) > MAX_MODELS:
            raise BadRequest(f"models: at most {MAX_MODELS} names.", param="models")
        for param in ("tokens_per_day", "requests_per_day"):
            value = getattr(self, param)
            if value is not None and not 0 < value <= MAX_BUDGET:
                raise BadRequest(f"{param}: a number from 1 to {MAX_BUDGET}.", param=param)


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def check_name(name: str, keys: Sequence[Key]) -> str:
    """The name for a new key. Raises BadRequest when it is taken or will not do."""
    name = name.strip()
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise BadRequest(
            f"name: 1 to {MAX_NAME} letters, digits, spaces and . @ + - _, with a letter or digit "
            "first.",
            param="name",
        )
    if any(key.name.casefold() == name.casefold() for key in keys):
        raise BadRequest(f"name: there is a key '{name}' already.", param="name")
    return name


def make(name: str, limits: Limits, secret: str, now_ms: int) -> Key:
    return Key(
        name=name,
        digest=digest_of(secret),
        prefix=secret[:SHOWN],
        created_ms=now_ms,
        **{field: getattr(limits, field) for field in Limits.__struct_fields__},
    )
