"""What is done to keys, on access.json itself: with or without a daemon that runs.

Each function raises KeyNotFound or BadRequest for the user, ConfigError for a damaged file, and
OSError; then nothing has changed. They block for a few milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec.structs import replace

from ...config.paths import Home
from ..protocol.errors import KeyNotFound
from .file import Kept, change
from .keys import SHOWN, Key, Limits, check_name, digest_of, make, new_secret


def now_ms() -> int:
    return int(time.time() * 1000)


def create(home: Home, name: str, limits: Limits) -> tuple[str, Key]:
    """(the key itself, which nobody can show again; what is kept of it)."""
    limits.check()
    secret = new_secret()

    def edit(kept: Kept) -> Kept:
        key = make(check_name(name, kept.keys), limits, secret, now_ms())
        return replace(kept, keys=(*kept.keys, key))

    return secret, change(home, edit).keys[-1]


def limit(home: Home, name: str, limits: Limits) -> Key:
    """Gives the key other limits."""
    limits.check()
    fields = {field: getattr(limits, field) for field in Limits.__struct_fields__}
    return _on_one(home, name, lambda key: replace(key, **fields))


def revoke(home: Home, name: str) -> Key:
    """Nobody gets in with it any more; it stays in the list, and its name in the usage."""
    return _on_one(home, name, lambda key: replace(key, revoked_ms=key.revoked_ms or now_ms()))


def rotate(home: Home, name: str) -> tuple[str, Key]:
    """A new key in the place of the old one, which is of no use from now on."""
    secret = new_secret()
    fresh = {"digest": digest_of(secret), "prefix": secret[:SHOWN], "revoked_ms": None}
    return secret, _on_one(home, name, lambda key: replace(key, **fresh))


def delete(home: Home, name: str) -> None:
    """Forgets the key. Without any key left, a server on loopback is open again."""

    def edit(kept: Kept) -> Kept:
        found = find(kept, name)
        return replace(kept, keys=tuple(key for key in kept.keys if key is not found))

    change(home, edit)


def note_use(home: Home, used_ms: dict[str, int]) -> None:
    """Keeps when keys were last used, by their digests."""

    def edit(kept: Kept) -> Kept:
        keys = tuple(
            replace(key, last_used_ms=max(used_ms[key.digest], key.last_used_ms or 0))
            if key.digest in used_ms
            else key
            for key in kept.keys
        )
        return replace(kept, keys=keys)

    change(home, edit)


def find(kept: Kept, name: str) -> Key:
    for key in kept.keys:
        if key.name.casefold() == name.strip().casefold():
            return key
    raise KeyNotFound(f"There is no key '{name[:100]}'.")


def _on_one(home: Home, name: str, edit: Callable[[Key], Key]) -> Key:
    def edit_all(kept: Kept) -> Kept:
        found = find(kept, name)
        return replace(kept, keys=tuple(edit(k) if k is found else k for k in kept.keys))

    return find(change(home, edit_all), name)
