"""Names that clients use → declared models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol.errors import ModelNotFound

if TYPE_CHECKING:
    from ...config.settings import Declared, Settings

MAX_QUOTED = 200  # characters of a client's text that an error repeats


def find_model(settings: Settings, name: str) -> Declared:
    """The model that answers to `name`. Raises ModelNotFound, which says what there is."""
    found = settings.find(name)
    if found is None:
        known = ", ".join(settings.models) or "none (config.yaml declares no model)"
        message = f"There is no model '{name[:MAX_QUOTED]}'. Declared: {known}."
        if name.startswith("claude-"):  # what Claude Code asks for unless told otherwise
            message += " A model with the alias claude-* in config.yaml answers to such names."
        raise ModelNotFound(message, param="model")
    return found
