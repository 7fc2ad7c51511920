"""Imports mlx-lm's models and loaders without transformers.

`mlx_lm/__init__.py` and `mlx_lm.utils` import transformers (and with it torch, where that is
installed) for tokenizers. The engine never sees text, so its process puts small stand-ins in
their place: a start is about a second faster and 60 MB smaller. Only the engine's own process
does this; elsewhere mlx_lm is imported as it is.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any, NoReturn


def install() -> None:
    """Call before the first import of mlx_lm. Does nothing when it was imported already."""
    if "mlx_lm" in sys.modules:
        return
    found = importlib.util.find_spec("mlx_lm")
    if found is None or found.submodule_search_locations is None:
        return  # the real import will say that it is missing
    package = ModuleType("mlx_lm", "mlx_lm without its __init__: see fastmlx.daemon.engine.lean")
    package.__path__ = list(found.submodule_search_locations)
    package.__spec__ = found
    tokenizers = ModuleType("mlx_lm.tokenizer_utils", "stand-in: the engine has no tokenizer")
    vars(tokenizers).update(
        TokenizerWrapper=object,
        load=_no_tokenizer,
        no_bos_or_eos=_no_tokenizer,
    )
    sys.modules["mlx_lm"] = package
    sys.modules["mlx_lm.tokenizer_utils"] = tokenizers


def _no_tokenizer(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("the engine has no tokenizer: text is the front's business")
