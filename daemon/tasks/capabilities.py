"""What declared models can do, as lists of models tell it: read from their files alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..hub.catalog import resolve
from ..hub.describe import declared_kind, describe
from ..protocol.errors import ModelFailed
from ..text.model_text import REASONING_PARSERS, TOOL_PARSERS, choose_parser
from .card import templates_of
from .texts import text_fields

if TYPE_CHECKING:
    from ...config.settings import ModelSpec

COMPLETES = ("text", "vision")  # kinds of models


class _Known(NamedTuple):
    key: tuple[object, ...]  # what it depends on
    words: list[str]


class Capabilities:
    """Keeps what it has read until the files or the entry change."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    async def of(self, models: Mapping[str, ModelSpec]) -> dict[str, list[str]]:
        """In Ollama's words: completion, tools, thinking, embedding; and reranker, as `kind` says.
        Nothing for a model whose files are not here, or broken."""
        return await asyncio.to_thread(self._all, dict(models))

    def _all(self, models: dict[str, ModelSpec]) -> dict[str, list[str]]:
        return {name: self._one(name, spec) for name, spec in models.items()}

    def _one(self, name: str, spec: ModelSpec) -> list[str]:
        try:
            folder = resolve(spec.path, spec.revision)
            key = (*text_fields(spec), folder, *_edited(folder))
            known = self._known.get(name)
            if known is None or known.key != key:
                known = self._known[name] = _Known(key, _read(folder, spec))
            return known.words
        except ModelFailed:
            return []


def _read(folder: Path, spec: ModelSpec) -> list[str]:
    """Raises ModelFailed."""
    kind = declared_kind(spec.kind, describe(folder))
    if kind not in COMPLETES:
        return [kind]
    templates = templates_of(folder, spec)
    joined = "\n".join(templates[name] for name in ("default", "tool_use") if name in templates)
    can = {
        "completion": True,
        "tools": choose_parser(TOOL_PARSERS, spec.tool_parser, joined) is not None,
        "thinking": choose_parser(REASONING_PARSERS, spec.reasoning_parser, joined) is not None,
    }
    return [word for word, true in can.items() if true]


def _edited(folder: Path) -> list[int]:
    """When files came and went, and when those were edited that are read here. Raises
    ModelFailed."""
    try:
        read = [path for path in folder.iterdir() if path.suffix in (".json", ".jinja")]
        return [path.stat().st_mtime_ns for path in (folder, *sorted(read))]
    except OSError as error:
        raise ModelFailed(f"{folder} cannot be read: {error.strerror or error}.") from error
