"""The door of one daemon: requests → callers.

    keys  password  bound    API without a key              dashboard without a session
    no    no        loopback everything                     everything
    no    yes       loopback all but what needs `admin`     the sign-in page
    yes   no        loopback 401                            everything, and it says so
    yes   yes       loopback 401                            the sign-in page
    any   any       beyond   401                            the sign-in page

"Keys" are all that are kept: when the last one has expired or was revoked, the door stays shut.
Who comes through a proxy is not on loopback. This user's own commands carry run/local.token and
may do all.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ...config.errors import ConfigError
from ...config.paths import Home
from ..protocol.caller import ANYBODY, NOBODY, Caller, Scope
from ..protocol.errors import Unauthorized
from . import edits
from .attempts import Attempts
from .budgets import Budgets
from .file import Kept, mark_of, read, write_private
from .keys import Key, digest_of
from .rules import is_direct, is_page, presented, scope_of
from .sessions import Sessions

if TYPE_CHECKING:
    from ..protocol.requests import RequestMeta
    from ..store.rows import UsageRow

log = logging.getLogger(__name__)

NOTE_S = 60.0  # between two notes of when keys were last used
_ALL_BUT_ADMIN = frozenset(Scope) - {Scope.ADMIN}


class Access:
    """Knows keys, password and sessions of a home. A request costs one `stat`, some microseconds,
    and no reading: a key that was revoked lets nobody in from that moment on.

    `exposed`: the server can be reached from other machines. Raises ConfigError for a damaged
    access.json.
    """

    def __init__(
        self, home: Home, *, exposed: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.home = home
        self.exposed = exposed
        self.budgets = Budgets(clock)
        self.attempts = Attempts()
        self.sessions = Sessions(home, clock)
        self._clock = clock
        self._local: str | None = None  # digest
        self._mark = mark_of(home)
        self._used_ms: dict[str, int] = {}  # digest → when, since the start
        self._take(read(home))

    def _take(self, kept: Kept) -> None:
        self._kept = kept
        self._by_digest = {key.digest: key for key in kept.keys}
        self._by_name = {key.name: key for key in kept.keys}

    def refresh(self) -> None:
        """Takes note of a changed access.json; one that cannot be read changes nothing."""
        mark = mark_of(self.home)
        if mark == self._mark:
            return
        self._mark = mark
        try:
            self._take(read(self.home))
        except ConfigError as error:
            log.error("%s; the keys that were known stay in force", error)

    # ---- what is known

    @property
    def has_keys(self) -> bool:
        self.refresh()
        return bool(self._kept.keys)

    @property
    def password(self) -> str | None:
        """As it is kept."""
        self.refresh()
        return self._kept.password

    def listed(self) -> list[Key]:
        """The keys in the order in which they were made, with when they were last used."""
        self.refresh()
        return [
            replace(key, last_used_ms=self._used_ms.get(key.digest, key.last_used_ms))
            for key in self._kept.keys
        ]

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    # ---- requests

    def caller(
        self, method: str, path: str, headers: Mapping[str, str], *, peer: str, session: str | None
    ) -> Caller:
        """Who asks. `headers` needs lower-case names, `peer` is an address, `session` the cookie.

        Raises Unauthorized for nobody in particular, Forbidden for somebody without the right.
        """
        self.refresh()
        need = scope_of(method, path)
        secret = presented(headers)
        found = self._who(secret, session)
        if found is None:
            scopes = self._open_to(path) if is_direct(headers, peer) else frozenset[Scope]()
            found = Caller(scopes) if scopes else NOBODY
            if need is not None and not found.may(need):
                raise Unauthorized(self._why(secret, path))
        elif need is not None:
            found.require(need)
        return found

    def _who(self, secret: str | None, session: str | None) -> Caller | None:
        if secret is not None:
            digest = digest_of(secret)
            if self._local is not None and hmac.compare_digest(digest, self._local):
                return ANYBODY
            key = self._by_digest.get(digest)
            # The look-up's time says at most how a digest begins, and no key follows from that.
            if (
                key is not None
                and hmac.compare_digest(key.digest, digest)
                and key.state(self.now_ms()) == "active"
            ):
                self._used_ms[digest] = self.now_ms()
                return Caller(frozenset(key.scopes), key.name, key.models)
        return ANYBODY if self.is_signed_in(session) else None

    def is_signed_in(self, session: str | None) -> bool:
        kept = self._kept.password
        return session is not None and kept is not None and self.sessions.holds(session, kept)

    def _open_to(self, path: str) -> frozenset[Scope]:
        """What anybody on this machine may do; see the table above."""
        if self.exposed or (not is_page(path) and self._kept.keys):
            return frozenset()
        if self._kept.password is None:
            return ANYBODY.scopes
        return frozenset() if is_page(path) else _ALL_BUT_ADMIN

    def _why(self, secret: str | None, path: str) -> str:
        if is_page(path):
            return "Sign in to see the dashboard."
        if secret is None:
            return (
                "This server wants an API key: Authorization: Bearer KEY, or x-api-key: KEY. "
                "`fastmlx keys create NAME` makes one."
            )
        key = self._by_digest.get(digest_of(secret))
        if key is None:
            return "This API key is not known here."
        return f"The API key '{key.name}' is {key.state(self.now_ms())}."

    def begin(self, meta: RequestMeta) -> None:
        """Before the work of a request. Raises BudgetSpent, and Unauthorized when its key was
        withdrawn since the request came in."""
        if meta.key is None:
            return
        self.refresh()
        key = self._by_name.get(meta.key)
        if key is None or key.state(self.now_ms()) != "active":
            raise Unauthorized(f"The API key '{meta.key}' is not valid any more.")
        self.budgets.begin(key)

    def end(self, row: UsageRow) -> None:
        """After it."""
        if row.key is not None:
            self.budgets.end(row.key, row.prompt_tokens + row.output_tokens)

    # ---- the life of the daemon

    def open_to_commands(self) -> None:
        """Lets this user's own commands in. Raises OSError.

        The token lasts, so that a tool which was given it survives a restart of the daemon.
        """
        path = self.home.local_token
        try:
            token = path.read_text("ascii").strip()
            if path.stat().st_mode & 0o077 or len(token) < 40:
                token = ""
        except (OSError, UnicodeDecodeError):
            token = ""
        if not token:
            token = f"fastmlx-local-{secrets.token_urlsafe(32)}"
            write_private(path, token.encode() + b"\n")
        self._local = digest_of(token)

    async def run(self) -> None:
        """Notes now and then when keys were used, until it is cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(NOTE_S)
                if used := dict(self._used_ms):
                    await asyncio.to_thread(self._note, used)
        finally:
            if self._used_ms:
                self._note(self._used_ms)

    def _note(self, used_ms: dict[str, int]) -> None:
        try:
            edits.note_use(self.home, used_ms)
        except (ConfigError, OSError) as error:
            log.warning("when keys were last used could not be noted: %s", error)
