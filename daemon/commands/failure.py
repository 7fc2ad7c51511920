"""How a verb says that it could not do what was asked."""

from __future__ import annotations


class Failure(Exception):
    """`str()` is for the user, on stderr; the exit status is 1."""
