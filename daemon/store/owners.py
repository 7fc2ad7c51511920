"""Whose is what is kept: the one rule, as a condition of queries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, true

from ..protocol.caller import Caller, Scope


def seen_by(caller: Caller, owner: ColumnElement[Any]) -> ColumnElement[bool]:
    """`Caller.sees` of a column that holds the name of an API key, or NULL."""
    if caller.may(Scope.ADMIN):
        return true()
    return owner.is_not_distinct_from(caller.key)
