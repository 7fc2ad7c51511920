"""The fields of the Chat page's forms → values. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from ..daemon.protocol.errors import BadRequest
from ..daemon.store.chats import Options

N = TypeVar("N", int, float)


def options(form: Mapping[str, str]) -> Options:
    """How answers are to be made. Raises BadRequest naming the field."""
    return Options(
        model=form.get("model", ""),
        system=form.get("system", "").strip(),
        temperature=_number(form, "temperature", float, 0.0, 2.0),
        top_p=_number(form, "top_p", float, 0.0, 1.0),
        top_k=_number(form, "top_k", int, 0, 1_000_000),
        max_tokens=_number(form, "max_tokens", int, 1, 10_000_000),
        seed=_number(form, "seed", int, 0, 2**63 - 1),
        stop=tuple(line for line in form.get("stop", "").splitlines() if line),
        use_tools=form.get("use_tools") == "on",
    )


def _number(
    form: Mapping[str, str], name: str, kind: Callable[[str], N], least: N, most: N
) -> N | None:
    text = form.get(name, "").strip()
    if not text:
        return None
    try:
        value = kind(text)
    except ValueError:
        raise BadRequest(f"{name} must be a number, not '{text[:50]}'.", param=name) from None
    if not least <= value <= most:
        raise BadRequest(f"{name} must be between {least} and {most}.", param=name)
    return value
