"""Imports mlx-lm's models and loaders without transformers and the Hub's client.

`mlx_lm/__init__.py`, `mlx_lm.utils` and `mlx_lm/tuner/__init__.py` import both (and with them
torch, where that is installed) for tokenizers, downloads and training. The engine never sees text
and fetches nothing, so its process puts small stand-ins in their place: a start is more than a
second faster and 60 MB smaller. Only the engine's own process does this; elsewhere mlx_lm is
imported as it is.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any, NoReturn

PACKAGES = ("mlx_lm", "mlx_lm.tuner")  # whose __init__ is not run


def install() -> None:
    """Call before the first import of mlx_lm. Does nothing when it was imported already."""
    if "mlx_lm" in sys.modules:
        return
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is None or found.submodule_search_locations is None:
            return  # the real import will say that it is missing
        package = ModuleType(name, f"{name} without its __init__: see fastmlx.daemon.engine.lean")
        package.__path__ = list(found.submodule_search_locations)
        package.__spec__ = found
        sys.modules[name] = package
    sys.modules["mlx_lm.tokenizer_utils"] = _module(
        "mlx_lm.tokenizer_utils",
        TokenizerWrapper=object,
        load=_no_tokenizer,
        no_bos_or_eos=_no_tokenizer,
    )
    if "huggingface_hub" in sys.modules:
        return
    # For one name in mlx_lm.utils: a model's own file may really need the client later.
    sys.modules["huggingface_hub"] = _module("huggingface_hub", snapshot_download=_no_download)
    try:
        importlib.import_module("mlx_lm.utils")
    finally:
        del sys.modules["huggingface_hub"]


def _module(module: str, **names: Any) -> ModuleType:
    made = ModuleType(module, "stand-in: see fastmlx.daemon.engine.lean")
    vars(made).update(names)
    return made


def _no_tokenizer(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("the engine has no tokenizer: text is the front's business")


def _no_download(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("the engine fetches nothing: that is the front's business")
