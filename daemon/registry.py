"""Names from a folder: a module's file name is its registration.

A plug-in folder (`daemon/text/tool_parsers`, …) holds one module a name; other packages add names
through an entry point group. Listing does not import anything; a module is imported when it is
asked for.
"""

from __future__ import annotations

import difflib
import pkgutil
from importlib import import_module, metadata
from types import ModuleType


class UnknownName(LookupError):
    """No module has this name; str() is a sentence that lists the choices."""

    def __init__(self, kind: str, name: str, choices: tuple[str, ...]) -> None:
        near = difflib.get_close_matches(name, choices, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        super().__init__(f"There is no {kind} {name!r}; choices: {', '.join(choices)}.{hint}")
        self.choices = choices


class Registry:
    """The modules of `package`, and of the entry points in `group`, by name.

    `kind` is the word for one of them in error messages. Names that begin with "_" are private.
    """

    def __init__(self, package: str, kind: str, group: str | None = None) -> None:
        self._package = package
        self._kind = kind
        self._group = group

    def names(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted({*self._own_names(), *self._entry_points()}))

    def get(self, name: str) -> ModuleType:
        """Raises UnknownName. A module of the folder wins over an entry point of its name."""
        if name in self._own_names():
            return import_module(f"{self._package}.{name}")
        if point := self._entry_points().get(name):
            return point.load()
        raise UnknownName(self._kind, name, self.names())

    def _own_names(self) -> set[str]:
        folder = import_module(self._package).__path__
        return {m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_")}

    def _entry_points(self) -> dict[str, metadata.EntryPoint]:
        if self._group is None:
            return {}
        return {point.name: point for point in metadata.entry_points(group=self._group)}
