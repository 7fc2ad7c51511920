"""Environment variables that override config.yaml: `FASTMLX_SERVER__PORT=8000`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_origin

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from .errors import ConfigError
from .names import suggestion
from .settings import Settings

_PREFIX = "FASTMLX_"
_DELIMITER = "__"
# Names of models would be folded to lower case; and one place for models is enough.
_SECTIONS = tuple(name for name in Settings.model_fields if name != "models")


class Overrides(NamedTuple):
    values: dict[str, Any]  # section → value, as in the file; {} when nothing is overridden
    variables: dict[tuple[str, ...], str]  # place of a value → the variable that set it

    def variable_at(self, loc: tuple[str | int, ...]) -> str | None:
        """The variable that is to blame for an error at `loc`, if one is."""
        for place, name in self.variables.items():
            below_a_value = len(loc) > 1 and place[: len(loc)] == loc  # FASTMLX_SERVER__PORT__X
            if loc[: len(place)] == place or below_a_value:
                return name
        return None

    def over(self, values: dict[str, Any]) -> dict[str, Any]:
        """`values` of the file with these on top. A section that is no mapping stays, to be
        refused at its place."""
        merged = dict(values)
        for section, value in self.values.items():
            below = values.get(section)
            if isinstance(value, dict) and isinstance(below, dict):
                merged[section] = below | value
            elif not isinstance(value, dict) or below is None:
                merged[section] = value
        return merged


class _Source(EnvSettingsSource):
    """pydantic-settings' reading of variables, from a given environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name.lower(): value for name, value in environ.items() if value}

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:
        """JSON, or a list with commas. What is neither stays a text, which validation takes (a
        size) or refuses, with the variable's name."""
        if value.lstrip()[:1] in ("[", "{"):
            try:
                return json.loads(value)
            except (ValueError, RecursionError):
                return value
        is_list = field is not None and get_origin(field.annotation) is tuple
        return [part.strip() for part in value.split(",")] if is_list else value


def overrides(environ: Mapping[str, str], path: Path) -> Overrides:
    """What `environ` overrides. Raises ConfigError for a variable that names no setting.

    FASTMLX_HOME and other names without `__` that are no section are not ours to judge.
    """
    variables: dict[tuple[str, ...], str] = {}
    for name, value in environ.items():
        if not name.upper().startswith(_PREFIX) or not value:
            continue
        place = tuple(name[len(_PREFIX) :].lower().split(_DELIMITER))
        if place[0] in _SECTIONS:
            variables[place] = name
        elif len(place) > 1:
            hint = suggestion(place[0], _SECTIONS)
            if place[0] == "models":
                hint = "models are declared in config.yaml only"
            raise ConfigError(path, None, None, name, "names no setting", hint)
    if not variables:
        return Overrides({}, {})
    ours = {name: environ[name] for name in variables.values()}
    return Overrides(_Source(ours)(), variables)
