"""pydantic's errors → sentences for the person who wrote config.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from .document import Loc
from .names import suggestion
from .settings import Settings

_MAX_SHOWN = 60  # characters of a wrong value that a message repeats


class Explanation(NamedTuple):
    loc: Loc  # of the setting
    of_key: bool  # the key is wrong, not its value
    message: str  # continues "models.x.kind: …"
    hint: str | None


def explain(error: ErrorDetails) -> Explanation:
    """What one of the errors of a ValidationError of Settings means."""
    loc, kind = error["loc"], error["type"]
    if loc and loc[-1] == "[key]":
        return Explanation(loc[:-1], True, _message(error), None)
    if kind == "extra_forbidden":
        return Explanation(loc, True, "unknown key", _meant(loc))
    if kind == "missing":
        return Explanation(loc, False, "is missing", None)
    hint = None
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
        hint = suggestion(str(error["input"]), choices)
    elif kind == "string_type" and isinstance(error["input"], int | float):
        hint = f"put it in quotes: '{_shown(error['input'])}'"
    return Explanation(loc, False, _message(error), hint)


def dotted(loc: Loc) -> str:
    """models.demo.aliases[0]"""
    parts = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return parts.removeprefix(".")


_SENTENCES: dict[str, Callable[[Any, dict[str, Any]], str]] = {
    "string_type": lambda value, _: f"must be a text, not {_shown(value)}",
    "int_type": lambda value, _: f"must be a whole number, not {_shown(value)}",
    "int_parsing": lambda value, _: f"must be a whole number, not {_shown(value)}",
    "int_parsing_size": lambda value, _: "is too large",
    "int_from_float": lambda value, _: f"must be a whole number, not {_shown(value)}",
    "float_type": lambda value, _: f"must be a number, not {_shown(value)}",
    "float_parsing": lambda value, _: f"must be a number, not {_shown(value)}",
    "finite_number": lambda value, _: f"must be a number, not {_shown(value)}",
    "bool_type": lambda value, _: f"must be true or false, not {_shown(value)}",
    "bool_parsing": lambda value, _: f"must be true or false, not {_shown(value)}",
    "model_type": lambda value, _: f"must be a mapping of keys to values, not {_shown(value)}",
    "dict_type": lambda value, _: f"must be a mapping of keys to values, not {_shown(value)}",
    "tuple_type": lambda value, _: f"must be a list, not {_shown(value)}",
    "literal_error": lambda value, ctx: f"must be {ctx['expected']}, not {_shown(value)}",
    "greater_than_equal": lambda _, ctx: f"must be at least {ctx['ge']}",
    "greater_than": lambda _, ctx: f"must be more than {ctx['gt']}",
    "less_than_equal": lambda _, ctx: f"must be at most {ctx['le']}",
    "less_than": lambda _, ctx: f"must be less than {ctx['lt']}",
}


def _message(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"])
    sentence = _SENTENCES.get(error["type"])
    return sentence(error["input"], context) if sentence else error["msg"]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    text = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
    return f"'{text}'" if isinstance(value, str) else text


def _meant(loc: Loc) -> str | None:
    """The key that was probably meant: a neighbour's name, or the same name elsewhere."""
    wrong = str(loc[-1])
    section = _section(loc[:-1])
    if section is None:
        return None
    near = suggestion(wrong, section.model_fields)
    if near is not None:
        return near
    for name, info in Settings.model_fields.items():
        other = _model(info.annotation)
        if other is not None and wrong in other.model_fields:
            return f"did you mean '{name}.{wrong}'?"
    return "known keys: " + ", ".join(section.model_fields)


def _section(loc: Loc) -> type[BaseModel] | None:
    """The class of the mapping at `loc`."""
    annotation: Any = Settings
    for part in loc:
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif get_origin(annotation) is tuple:
            annotation = get_args(annotation)[0]
            if get_origin(annotation) is Annotated:
                annotation = get_args(annotation)[0]
        elif (section := _model(annotation)) is not None:
            info = section.model_fields.get(str(part))
            annotation = info.annotation if info is not None else None
        else:
            return None
    return _model(annotation)


def _model(annotation: Any) -> type[BaseModel] | None:
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None
