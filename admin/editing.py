"""Forms and the editor of config.yaml: from what was sent to a saved file, or to what is wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..config.document import Problem
from ..config.edit import Change, EditError, Keys, edited, written
from ..config.environment import overrides
from ..config.errors import ConfigError
from ..config.load import check
from ..config.save import FileChanged, current_text, save
from ..config.settings import Settings
from .differences import DiffLine, EditedTexts
from .fields import Field, Group, changes, shown

if TYPE_CHECKING:
    from ..daemon.tasks.front import Front

IN_FORCE_S = 3.0  # a saved file is applied within a second; nobody waits longer for it

texts = EditedTexts()


class Problems(NamedTuple):
    """What is wrong with a form; nothing was saved."""

    fields: dict[str, list[str]]  # name of the input, "" for the form → sentences
    others: list[ConfigError]  # elsewhere in the file

    def __bool__(self) -> bool:
        return bool(self.fields or self.others)


NO_PROBLEMS = Problems({}, [])


class Form(NamedTuple):
    """All that a template needs to show a form."""

    groups: tuple[Group, ...]
    values: dict[str, str]  # name of the input → its content
    was: str  # JSON of the contents that the file has
    base: str  # fingerprint of the text that they come from
    problems: Problems = NO_PROBLEMS
    theirs: dict[str, str] = {}  # inputs that both changed → the file's content
    diff: list[DiffLine] = []
    is_late: bool = False  # the file was changed since the form was made
    variables: dict[str, str] = {}  # inputs that a variable of the environment overrides → its name


class Sent(NamedTuple):
    """A form that came back."""

    base: str
    was: dict[str, str]
    now: dict[str, str]


def sent(form: Mapping[str, Any] | None, fields: tuple[Field, ...]) -> Sent:
    """From the values of a POST; what is missing or strange counts as empty."""
    values = {name: str(form.get(name, "")) for name in form} if form else {}
    try:
        was = msgspec.json.decode(values.get("was", "{}"), type=dict[str, str])
    except msgspec.DecodeError:
        was = {}
    now = {f.name: values[f"f.{f.name}"] for f in fields if f"f.{f.name}" in values}
    # Browsers leave out nothing; whoever sends one field alone means only that.
    return Sent(values.get("base", ""), was, now)


def empty_form(groups: tuple[Group, ...], text: str, values: dict[str, str]) -> Form:
    """For something that is not in the file yet."""
    blank = {field.name: values.get(field.name, "") for group in groups for field in group.fields}
    return Form(groups, blank, "{}", texts.keep(text))


def form_of(groups: tuple[Group, ...], above: Keys, text: str, path: Path) -> Form:
    """What the file says. Raises Problem when it cannot be read as YAML."""
    values = shown(_fields(groups), above, text, written(text))
    return Form(groups, values, _json(values), texts.keep(text)).with_variables(above, path)  # pyright: ignore


def changed_form(form: Form, came: Sent, problems: Problems, *, is_late: bool, text: str) -> Form:
    """`form`, which shows the file as it is now, with what the person had typed, who changed the
    inputs that differ from `came.was`. What both changed is the person's, and said."""
    was = {field.name: came.was.get(field.name, "") for field in _fields(form.groups)}
    mine = {
        name: typed
        for name, typed in came.now.items()
        if _lines(typed) != _lines(was.get(name, ""))
    }
    theirs = {
        name: form.values[name]
        for name in mine
        if is_late and form.values[name] not in (was[name], _lines(mine[name]))
    }
    return form._replace(
        values=form.values | mine,
        problems=problems,
        theirs=theirs,
        is_late=is_late,
        diff=texts.since(came.base, text) if is_late else [],
    )


def attempt(
    text: str, wanted: Mapping[str, Change], above: Keys, groups: tuple[Group, ...], path: Path
) -> tuple[str, Settings] | Problems:
    """The text with the changes, and what it declares; or what is wrong with that. Pure."""
    wrong: dict[str, list[str]] = {}
    for name, change in wanted.items():
        try:
            text = edited(text, [change])
        except EditError as error:
            wrong[name] = [str(error)]
    if wrong:
        return Problems(wrong, [])
    found = check(text, path)
    return (text, found) if isinstance(found, Settings) else placed(found, above, _fields(groups))


def placed(found: list[ConfigError], above: Keys, fields: tuple[Field, ...]) -> Problems:
    """The errors of a file, each beside the input that it is about."""
    beside: dict[str, list[str]] = {}
    others: list[ConfigError] = []
    for error in found:
        if error.loc[: len(above)] != above or (not error.loc and above):
            others.append(error)
            continue
        loc = error.loc[len(above) :]
        name = "" if not loc and above else _input_at(loc, fields)
        if name is None:
            others.append(error)
        else:
            hint = f" ({error.hint})" if error.hint else ""
            beside.setdefault(name, []).append(f"{error.message}{hint}")
    return Problems(beside, others)


def _input_at(loc: tuple[str | int, ...], fields: tuple[Field, ...]) -> str | None:
    for field in fields:
        if loc and (loc[: len(field.keys)] == field.keys or field.keys[: len(loc)] == loc):
            return field.name
    return None


async def submit(
    front: Front, came: Sent, wanted: Mapping[str, Change], above: Keys, groups: tuple[Group, ...]
) -> Problems | FileChanged | None:
    """Save what a form changes; None when it is saved and in force.

    Raises ConfigError (the file cannot be read) and OSError (it cannot be written).
    """
    path = front.config.path
    text = await asyncio.to_thread(current_text, path)
    if came.base != texts.keep(text):
        return FileChanged(text)
    result = attempt(text, wanted, above, groups, path)
    if isinstance(result, Problems):
        return result
    new, settings = result
    try:
        await asyncio.to_thread(save, path, came.base, new)
    except FileChanged as late:
        return late
    await in_force(front, settings)
    return None


async def in_force(front: Front, settings: Settings) -> None:
    """Returns when the daemon has taken what was saved, or after a while."""
    deadline = asyncio.get_running_loop().time() + IN_FORCE_S
    while front.config.settings != settings or front.config.error is not None:
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(0.02)


def wanted_changes(came: Sent, above: Keys, groups: tuple[Group, ...]) -> dict[str, Change]:
    return changes(_fields(groups), above, came.was, came.now)


def _fields(groups: tuple[Group, ...]) -> tuple[Field, ...]:
    return tuple(field for group in groups for field in group.fields)


def _json(values: dict[str, str]) -> str:
    return msgspec.json.encode({k: v for k, v in values.items() if v}).decode()


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def variables_of(groups: tuple[Group, ...], path: Path) -> dict[str, str]:
    """Inputs of the whole file's form that the environment overrides → the variable."""
    try:
        over = overrides(os.environ, path)
    except ConfigError:
        return {}
    names = {field.name: over.variable_at(field.keys) for field in _fields(groups)}
    return {name: variable for name, variable in names.items() if variable is not None}


__all__ = ["Problem"]
