"""Who a request is from and what it may do.

The gate (`daemon.api.gate`) puts it into the context of the request's task, which the tasks that
the request starts inherit. What runs for nobody in particular, such as a preload, may do all.
"""

from __future__ import annotations

from contextvars import ContextVar
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from .errors import Forbidden, ModelForbidden


class Scope(StrEnum):
    INFERENCE = "inference"  # models are asked, listed
    TOOLS = "tools"  # tools of MCP servers are run
    METRICS = "metrics"  # figures are read: /metrics, /api/status, /api/cache, /api/usage
    ADMIN = "admin"  # everything


class Caller(msgspec.Struct, frozen=True):
    """What a request may do."""

    scopes: frozenset[Scope]
    key: str | None = None  # name of its API key
    models: tuple[str, ...] | None = None  # names and patterns with `*`; None: all

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def may_use(self, *names: str) -> bool:
        """Whether the list of models allows the one that answers to these names."""
        if self.models is None:
            return True
        return any(fnmatchcase(name, _plain(each)) for name in names for each in self.models)

    def sees(self, owner: str | None) -> bool:
        """Whether what was kept for the API key `owner`, or for nobody's (None), is there for it:
        what is its own, and to who may do everything all."""
        return self.key == owner or self.may(Scope.ADMIN)

    def require(self, scope: Scope) -> None:
        """Raises Forbidden."""
        if not self.may(scope):
            raise Forbidden(f"This needs an API key with the scope '{scope}'.")

    def require_model(self, *names: str) -> None:
        """Raises ModelForbidden."""
        if not self.may_use(*names):
            raise ModelForbidden(f"This API key may not use the model '{names[0][:200]}'.")


def _plain(pattern: str) -> str:
    """Of fnmatch's characters only `*` is one; names of models have brackets, too."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


ANYBODY = Caller(frozenset(Scope))
NOBODY = Caller(frozenset())
_current: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)

current = _current.get
become = _current.set


def current_key() -> str | None:
    """Name of the API key of the request that runs here."""
    return _current.get().key
