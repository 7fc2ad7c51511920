"""Names that clients use → declared models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import caller
from ..protocol.errors import ModelNotFound

if TYPE_CHECKING:
    from ...config.settings import Declared, ModelSpec, Settings

MAX_QUOTED = 200  # characters of a client's text that an error repeats


def find_model(settings: Settings, name: str) -> Declared:
    """The model that answers to `name`. Raises ModelNotFound, which says what there is, and
    ModelForbidden when the caller's API key may not use it."""
    found = settings.find(name)
    if found is None:
        known = ", ".join(allowed_models(settings)) or "none (config.yaml declares no model)"
        message = f"There is no model '{name[:MAX_QUOTED]}'. Declared: {known}."
        if name.startswith("claude-"):  # what Claude Code asks for unless told otherwise
            message += " A model with the alias claude-* in config.yaml answers to such names."
        raise ModelNotFound(message, param="model")
    caller.current().require_model(found.name, *found.spec.aliases, name)
    return found


def allowed_models(settings: Settings) -> dict[str, ModelSpec]:
    """The declared models that the caller may use. An API key's list names a model by any of the
    names that it answers to."""
    allowed = caller.current()
    return {
        name: spec for name, spec in settings.models.items() if allowed.may_use(name, *spec.aliases)
    }
