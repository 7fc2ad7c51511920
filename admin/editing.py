"""Forms and the editor of config.yaml: from what was sent to a saved file, or to what is wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
from ..daemon.protocol.errors import BadRequest
from .differences import DiffLine, EditedTexts
from .fields import Field, Group, changes, shown

if TYPE_CHECKING:
    from ..daemon.tasks.front import Front

TRIES = 5  # of a button, when others save at the same time
IN_FORCE_S = 3.0  # a saved file is applied within a second; nobody waits longer for it

texts = EditedTexts()


class Problems(NamedTuple):
    """What is wrong with a form; nothing was saved."""

    fields: dict[str, list[str]]  # name of the input, "" for the form → sentences
    others: list[ConfigError]  # elsewhere in the file

    def __bool__(self) -> bool:
        return bool(self.fields or self.others)


NO_PROBLEMS = Problems({}, [])


@dataclass(frozen=True)
class Form:
    """All that a template needs to show a form."""

    groups: tuple[Group, ...]
    values: dict[str, str]  # name of the input → its content
    was: str  # JSON of the contents that the file has
    base: str  # fingerprint of the text that they come from
    problems: Problems = NO_PROBLEMS
    theirs: dict[str, str] = field(default_factory=dict)  # what both changed → the file's content
    diff: list[DiffLine] = field(default_factory=list)
    is_late: bool = False  # the file was changed since the form was made
    variables: dict[str, str] = field(default_factory=dict)  # overridden input → by which variable


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
    # A browser sends all inputs; who sends one alone means that one.
    return Sent(values.get("base", ""), was, now)


def empty_form(groups: tuple[Group, ...], text: str, values: dict[str, str]) -> Form:
    """For something that is not in the file yet."""
    blank = {each.name: values.get(each.name, "") for each in _fields(groups)}
    return Form(groups, blank, "{}", texts.keep(text))


def form_of(groups: tuple[Group, ...], above: Keys, text: str, path: Path) -> Form:
    """What the file says. Raises Problem when it cannot be read as YAML."""
    values = shown(_fields(groups), above, text, written(text))
    variables = {} if above else variables_of(groups, path)
    return Form(groups, values, _json(values), texts.keep(text), variables=variables)


def changed_form(form: Form, came: Sent, problems: Problems, *, is_late: bool, text: str) -> Form:
    """`form`, which shows the file as it is now, with what the person had typed, who changed the
    inputs that differ from `came.was`. What both changed is the person's, and said."""
    was = {each.name: came.was.get(each.name, "") for each in _fields(form.groups)}
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
    return replace(
        form,
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
    for each in fields:
        if loc and (loc[: len(each.keys)] == each.keys or each.keys[: len(loc)] == loc):
            return each.name
    return None


async def submit(
    front: Front,
    came: Sent,
    wanted: Mapping[str, Change],
    above: Keys,
    groups: tuple[Group, ...],
    *,
    first: Callable[[str], str] | None = None,
) -> Problems | FileChanged | None:
    """Save what a form changes; None when it is saved and in force. `first` changes the text before
    the inputs do, and may raise EditError.

    Raises ConfigError (the file cannot be read) and OSError (it cannot be written).
    """
    path = front.config.path
    text = await asyncio.to_thread(current_text, path)
    if came.base != texts.keep(text):
        return FileChanged(text)
    try:
        text = first(text) if first is not None else text
    except EditError as error:
        return Problems({"": [str(error)]}, [])
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


def returned(
    front: Front,
    came: Sent,
    outcome: Problems | FileChanged,
    groups: tuple[Group, ...],
    above: Keys,
    text: str,
) -> tuple[Form, int]:
    """The form that was not saved, to be sent again, and the HTTP status. `text` is the file's."""
    is_late = isinstance(outcome, FileChanged)
    problems = NO_PROBLEMS if is_late else outcome
    path = front.config.path
    try:
        form = form_of(groups, above, text, path)
    except Problem:
        found = check(text, path)
        broken = Problems({}, found if isinstance(found, list) else [])
        return replace(empty_form(groups, text, came.now), problems=broken), 409
    return changed_form(form, came, problems, is_late=is_late, text=text), 409 if is_late else 422


async def change_now(front: Front, make: Callable[[str], str]) -> None:
    """Save what `make` makes of the file's text, for buttons, which do not depend on what the rest
    of the file says.

    Raises BadRequest with a sentence for the user.
    """
    path = front.config.path
    for _ in range(TRIES):
        try:
            text = await asyncio.to_thread(current_text, path)
            new = make(text)
            found = check(new, path)
            if not isinstance(found, Settings):
                raise found[0]
            await asyncio.to_thread(save, path, texts.keep(text), new)
        except FileChanged:
            continue
        except (ConfigError, EditError, OSError) as error:
            raise BadRequest(f"{path.name} was not changed. {error}") from error
        await in_force(front, found)
        return
    raise BadRequest(f"{path.name} was not changed: it is being edited all the time.")


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
    return tuple(each for group in groups for each in group.fields)


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
    names = {each.name: over.variable_at(each.keys) for each in _fields(groups)}
    return {name: variable for name, variable in names.items() if variable is not None}
