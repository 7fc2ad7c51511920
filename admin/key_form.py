"""The form of an API key → what it may do."""

from __future__ import annotations

from typing import NamedTuple

from sanic.request import RequestParameters

from ..daemon.access.expiry import expiry_ms
from ..daemon.access.keys import Key, Limits
from ..daemon.protocol.caller import Scope
from ..daemon.protocol.errors import BadRequest

SCOPES = (
    (Scope.INFERENCE, "ask models"),
    (Scope.TOOLS, "run tools of MCP servers"),
    (Scope.METRICS, "read figures: metrics, status, usage"),
    (Scope.ADMIN, "everything, this dashboard too"),
)


class KeyForm(NamedTuple):
    """The texts of the fields, as they were typed or as they would be."""

    name: str = ""
    scopes: tuple[str, ...] = (Scope.INFERENCE,)
    models: str = ""  # separated by commas
    tokens: str = ""
    requests: str = ""
    expires: str = ""

    @classmethod
    def typed(cls, form: RequestParameters | None) -> KeyForm:
        form = form or RequestParameters()
        texts = {
            name: str(form.get(name, ""))[:5000]
            for name in ("name", "models", "tokens", "requests", "expires")
        }
        return cls(scopes=tuple(form.getlist("scopes", [])), **texts)

    @classmethod
    def of(cls, key: Key, expires: str) -> KeyForm:
        """`expires`: the moment as the form shows it."""
        return cls(
            name=key.name,
            scopes=tuple(key.scopes),
            models=", ".join(key.models or ()),
            tokens=str(key.tokens_per_day or ""),
            requests=str(key.requests_per_day or ""),
            expires=expires,
        )

    def limits(self, now_ms: int) -> Limits:
        """Raises BadRequest, with the name of the field."""
        unknown = set(self.scopes) - set(Scope)
        if unknown:
            raise BadRequest("scopes: there is no such scope.", param="scopes")
        models = tuple(filter(None, (each.strip() for each in self.models.split(","))))
        limits = Limits(
            scopes=tuple(map(Scope, self.scopes)),
            models=models or None,
            tokens_per_day=_number(self.tokens, "tokens"),
            requests_per_day=_number(self.requests, "requests"),
            expires_ms=expiry_ms(self.expires, now_ms),
        )
        limits.check()
        return limits


def _number(text: str, param: str) -> int | None:
    text = text.strip().replace(",", "").replace("_", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        raise BadRequest(f"{param}: a whole number, or nothing for no bound.", param=param)
    return int(text)
