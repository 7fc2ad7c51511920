"""How a model's hidden states become one vector, as sentence-transformers' files say.

modules.json lists what follows the transformer, and the pooling's own folder its modes
(https://www.sbert.net/docs/package_reference/sentence_transformer/models.html).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

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


def read_pooling(folder: Path, default: Pooling) -> Pooling:
    """`default` where the folder says nothing. Raises ValueError for what we cannot do."""
    place = "1_Pooling"
    modules = _json(folder / "modules.json")
    if isinstance(modules, list):
        for module in modules:
            kind = str(module.get("type", "")).rpartition(".")[2]
            if kind == "Pooling":
                place = str(module.get("path") or place)
            elif kind not in ("Transformer", "Normalize"):
                raise ValueError(
                    f"modules.json asks for a layer of the kind {kind}, which is not supported"
                )
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
