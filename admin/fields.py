"""pydantic's fields of config.yaml → the inputs of a form, and what was typed → changes. Pure.

Every input is a text; an empty one means the default. What a person did not change is not written,
so that what others wrote there meanwhile, and how, stays.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from ..config.diff import change_class
from ..config.edit import Change, Keys
from ..config.emit import Written, inline
from ..config.plain import source_of
from ..config.scalars import resolve
from ..config.section import Change as Cost
from ..config.units import Size, format_duration
from ..config.values import Choice


class Kind(StrEnum):
    TEXT = "text"
    LONG = "long"  # a text of several lines
    LINES = "lines"  # a list of texts, one a line
    NUMBER = "number"
    DURATION = "duration"  # 15m
    SIZE = "size"  # 4GiB
    CHOICE = "choice"  # true and false among them
    YAML = "yaml"  # a mapping, or a list of them, as the file says it


class Field(NamedTuple):
    """One input."""

    keys: Keys  # in the file, below what the form edits
    kind: Kind
    description: str
    unit: str
    cost: Cost  # of a change
    default: str  # as one would write it; "" for none
    choices: tuple[str, ...]
    is_required: bool

    @property
    def name(self) -> str:
        return ".".join(self.keys)


class Group(NamedTuple):
    """Inputs under one heading."""

    key: str  # in the file; "" for what has no mapping of its own
    description: str
    fields: tuple[Field, ...]


@cache
def groups_of(cls: type[BaseModel], leave_out: tuple[str, ...] = ()) -> tuple[Group, ...]:
    """The form of a mapping of config.yaml: its own keys first, then a group for each mapping."""
    own: list[Field] = []
    below: list[Group] = []
    hints = get_type_hints(cls, include_extras=True)
    for name, info in cls.model_fields.items():
        if name in leave_out:
            continue
        annotation = _without_none(hints[name])
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            inner = get_type_hints(annotation, include_extras=True)
            # What a mapping that may be absent needs is not needed to leave it out.
            is_optional = info.default is None
            fields = [
                _field(annotation, (name, key), inner[key], each, is_optional)
                for key, each in annotation.model_fields.items()
            ]
            below.append(Group(name, info.description or "", tuple(fields)))
        else:
            own.append(_field(cls, (name,), annotation, info, is_optional=False))
    return (Group("", "", tuple(own)), *below) if own else tuple(below)


def fields_of(cls: type[BaseModel], leave_out: tuple[str, ...] = ()) -> tuple[Field, ...]:
    """All inputs of the form."""
    return tuple(field for group in groups_of(cls, leave_out) for field in group.fields)


def _field(
    cls: type[BaseModel], keys: Keys, annotation: Any, info: FieldInfo, is_optional: bool
) -> Field:
    extra = info.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    kind, choices = _kind(_without_none(annotation), [*info.metadata], unit)
    return Field(
        keys,
        kind,
        info.description or "",
        unit if kind is Kind.NUMBER else "",
        change_class(cls, keys[-1]),
        _default(info.default, kind, unit),
        choices,
        info.is_required() and not is_optional,
    )


def _kind(annotation: Any, metadata: list[Any], unit: str) -> tuple[Kind, tuple[str, ...]]:
    """What takes such a value, and the words that it may be."""
    if get_origin(annotation) is Annotated:
        base, *more = get_args(annotation)
        return _kind(base, [*metadata, *more], unit)
    for each in metadata:
        if isinstance(each, AfterValidator) and isinstance(each.func, Choice):
            return Kind.CHOICE, each.func.available
    if unit == "seconds":
        return Kind.DURATION, ()
    if unit == "bytes":
        return Kind.SIZE, ()
    if get_origin(annotation) is Literal:
        return Kind.CHOICE, get_args(annotation)
    if annotation is bool:
        return Kind.CHOICE, ("true", "false")
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        base = get_args(item)[0] if get_origin(item) is Annotated else item
        return (Kind.LINES if base is str else Kind.YAML), ()
    if get_origin(annotation) in (Union, types.UnionType):  # a number or "auto"
        return _kind(get_args(annotation)[0], metadata, unit)
    if annotation in (int, float):
        return Kind.NUMBER, ()
    if annotation is str:
        return (Kind.TEXT if metadata else Kind.LONG), ()
    return (Kind.YAML if get_origin(annotation) in (dict, list) else Kind.TEXT), ()


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    kept = [each for each in get_args(annotation) if each is not type(None)]
    return kept[0] if len(kept) == 1 else Union[tuple(kept)]  # noqa: UP007


def inherited(fields: tuple[Field, ...], above: BaseModel) -> dict[str, str]:
    """What holds for inputs without a default of their own: the settings of the same name."""
    own = type(above).model_fields
    return {
        field.name: _default(getattr(above, field.name), field.kind, field.unit)
        for field in fields
        if field.name in own and not field.default
    }


def _default(value: Any, kind: Kind, unit: str) -> str:
    if value is None or value is PydanticUndefined:
        return ""
    if kind is Kind.DURATION and isinstance(value, int | float):
        return format_duration(value)
    if kind is Kind.SIZE and isinstance(value, int | Size):
        return str(Size(value) if isinstance(value, int) else value)
    if kind is Kind.LINES:
        return ", ".join(value)
    return str(value) if isinstance(value, str) else inline(to_jsonable_python(value))


# ---- what the file says → what the inputs show


def shown(fields: tuple[Field, ...], above: Keys, text: str, tree: Any) -> dict[str, str]:
    """The content of every input. `tree` is `edit.written(text)`; `above` leads to what the form
    edits."""
    for key in above:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return {field.name: _shown(field, above, text, tree) for field in fields}


def _shown(field: Field, above: Keys, text: str, tree: Any) -> str:
    value = tree
    for key in field.keys:
        value = value.get(key) if isinstance(value, dict) else None
    if value is None:
        return ""
    if field.kind is Kind.YAML:
        return _lf(source_of(text.removeprefix("\ufeff"), (*above, *field.keys)) or inline(value))
    if field.kind is Kind.LINES and value == []:
        return "[]" if field.default else ""  # an empty input is the default
    if field.kind is Kind.LINES and isinstance(value, list) and all(map(_is_line, value)):
        return "\n".join(value)
    if isinstance(value, str):
        return _lf(value)
    return inline(value)


# ---- what was typed → changes


def changes(
    fields: tuple[Field, ...], above: Keys, was: Mapping[str, str], now: Mapping[str, str]
) -> dict[str, Change]:
    """Name of the input → what it changes, for inputs whose content is no longer what it was."""
    found: dict[str, Change] = {}
    for field in fields:
        before, after = _lf(was.get(field.name, "")), _lf(now.get(field.name, ""))
        if field.name in now and before != after:
            found[field.name] = Change((*above, *field.keys), value_of(field, after))
    return found


def value_of(field: Field, typed: str) -> Any:
    """What the file should say; None for nothing. Whether it is right is for `config.load`."""
    if field.kind is Kind.LONG:
        return typed if typed.strip() else None
    if field.kind is Kind.YAML:
        return Written(typed) if typed.strip() else None
    typed = typed.strip()
    if not typed:
        return None
    if field.kind is Kind.LINES:
        if typed == "[]":
            return []
        return [line.strip() for line in typed.split("\n") if line.strip()]
    return typed if field.kind is Kind.TEXT else resolve(typed)


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and "\n" not in value


def _lf(text: str) -> str:
    """Browsers send line breaks as CRLF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
