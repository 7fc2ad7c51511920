"""`adapters:` of a model."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from .section import Section, setting
from .values import AdapterName, Text


class AdapterSpec(Section):
    """One item of `adapters:` of a model; a text is the path of one without a name."""

    path: Text = setting("Folder, or Hub id.", change="reload")
    name: AdapterName | None = setting(
        "Requests choose it as MODEL:NAME; without a name it is always applied.",
        change="reload",
        default=None,
    )


def _adapter(value: Any) -> Any:
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("must not be empty")
        return {"path": value}
    if not isinstance(value, dict | AdapterSpec):
        raise ValueError("must be a folder, or {name: NAME, path: FOLDER}")
    return value


def _adapters(value: Any) -> Any:
    """A single adapter is a list of one."""
    return [value] if isinstance(value, str | dict) else value


Adapters = Annotated[
    tuple[Annotated[AdapterSpec, BeforeValidator(_adapter)], ...], BeforeValidator(_adapters)
]
