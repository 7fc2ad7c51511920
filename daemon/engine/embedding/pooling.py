"""How a model's hidden states become one vector, as sentence-transformers' files say.

modules.json lists what follows the transformer, and the pooling's own folder its modes
(https://www.sbert.net/docs/package_reference/sentence_transformer/models.html).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

Pooling = Literal["last", "mean", "cls", "max"]

_MODES: dict[str, Pooling] = {
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "lasttoken": "last",
    "mean": "mean",
    "cls": "cls",
    "max": "max",
}


class Modules(NamedTuple):
    """What follows the transformer."""

    pooling: Pooling
    dense: list[tuple[str, dict[str, Any]]]  # folder and config of each layer after the pooling


def read_modules(folder: Path, default: Pooling) -> Modules:
    """`default`: the pooling where the folder says nothing. Raises ValueError for what we cannot
    do."""
    place = "1_Pooling"
    order: list[str] = []
    dense: list[tuple[str, dict[str, Any]]] = []
    modules = _json(folder / "modules.json")
    for module in modules if isinstance(modules, list) else []:
        kind, path = str(module.get("type", "")).rpartition(".")[2], str(module.get("path") or "")
        if kind not in ("Transformer", "Pooling", "Dense", "Normalize"):
            raise ValueError(
                f"modules.json asks for a layer of the kind {kind}, which is not supported"
            )
        order.append(kind)
        if kind == "Pooling":
            place = path or place
        elif kind == "Dense":
            if "Pooling" not in order or "Normalize" in order:
                raise ValueError(
                    "modules.json asks for a layer of the kind Dense elsewhere than between "
                    "Pooling and Normalize, which is not supported"
                )
            config = _json(folder / path / "config.json")
            if not isinstance(config, dict):
                raise ValueError(f"{path}/config.json is missing")
            dense.append((path, config))
    return Modules(_read_pooling(folder, place, default), dense)


def _read_pooling(folder: Path, place: str, default: Pooling) -> Pooling:
    config = _json(folder / place / "config.json")
    if not isinstance(config, dict):
        return default
    named = config.get("pooling_mode")
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    names = names + [
        key for key, on in config.items() if key.startswith("pooling_mode_") and on is True
    ]
    if not names:
        return default
    found: set[Pooling | None] = {_MODES.get(name) for name in names}
    mode = found.pop()
    if found or mode is None:
        raise ValueError(
            f"its pooling ({', '.join(names)}) is not supported: one of last token, "
            "mean, first token and maximum is"
        )
    return mode


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
