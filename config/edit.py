"""Changes single values of config.yaml by splicing its text: comments and order survive.

What a splice leaves is read again and compared with what was meant. A text that is written too
oddly for it (aliases, explicit keys) is refused with EditError, never changed in another way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from .document import Entry, Problem, Table, parse
from .emit import Line, Written, emit, inline, key_of
from .lines import (
    beyond_line,
    changed_list,
    column,
    comments_in,
    content_end,
    header_end,
    is_inline,
    line_start,
    newline_of,
    step_of,
    trailing_comment,
    value_colon,
)
from .plain import fragment, pairs_at, plain

Keys = tuple[str, ...]


class EditError(ValueError):
    """The text cannot be changed so; the message says why, for the user."""


class Change(NamedTuple):
    """`value` at the place `keys`; None takes the key out, so that it has its default."""

    keys: Keys
    value: Any  # dicts, lists, scalars, emit.Written


def written(text: str) -> dict[str, Any]:
    """What the text says, as dicts, lists and scalars; `${VAR}` stays as it is. Raises Problem."""
    root = parse(_bare(text))
    return plain(root) if root is not None else {}


def edited(text: str, changes: Iterable[Change]) -> str:
    """`text` with the changes made one after the other. Raises EditError."""
    mark, text = text[: len(text) - len(_bare(text))], _bare(text)
    for change in changes:
        text = _checked(text, change)
    return mark + text


def renamed(text: str, keys: Keys, name: str) -> str:
    """`text` with the last of `keys` called `name`. Raises EditError."""
    mark, bare = text[: len(text) - len(_bare(text))], _bare(text)
    root = _parsed(bare)
    table, rest = _deepest(root, keys)
    if len(rest) != 1 or table is None or not _owns(table, rest[0]):
        raise EditError(f"there is no {'.'.join(keys)}")
    if name in table.entries:
        raise EditError(f"there is a {name} already")
    entry = table.entries[rest[0]]
    result = bare[: entry.key_start] + key_of(name) + bare[entry.key_end :]
    before, after = plain(root) if root else {}, written(result)
    holder = pairs_at(before, keys[:-1])
    holder_items = [(name if k == rest[0] else k, v) for k, v in holder.items()]
    if list(pairs_at(after, keys[:-1]).items()) != holder_items:
        raise EditError("the name is used elsewhere in the file; change it there by hand")
    return mark + result


def _bare(text: str) -> str:
    return text.removeprefix("\ufeff")


def _parsed(text: str) -> Table | None:
    try:
        return parse(text)
    except Problem as problem:
        raise EditError(problem.message) from problem


def _checked(text: str, change: Change) -> str:
    root = _parsed(text)
    try:
        meant = _without_nothing(_meant(plain(root) if root else {}, change), change.keys)
        # A block of text would swallow comments that follow it and are indented as far.
        for value in (change.value, _on_lines(change.value)):
            result = _spliced(text, root, change._replace(value=value))
            if _without_nothing(written(result), change.keys) == meant:
                return result
    except (Problem, ValueError) as error:
        raise EditError(getattr(error, "message", None) or str(error)) from error
    raise EditError("it is written in a way that only a hand can edit")


def _meant(before: dict[str, Any], change: Change) -> dict[str, Any]:
    result = dict(before)
    *above, last = change.keys
    table = result
    for key in above:
        below = table.get(key)
        if below is not None and not isinstance(below, dict):
            raise EditError(f"{key} is not a mapping")
        table[key] = below = dict(below or {})
        table = below
    if isinstance(change.value, Written):
        table[last] = fragment(change.value)
    else:
        table[last] = _lists(change.value)
    return result


def _on_lines(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _on_lines(each) for key, each in value.items()}
    return Line(value) if isinstance(value, str) and not isinstance(value, Written) else value


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, list | tuple) else value


def _without_nothing(tree: dict[str, Any], keys: Keys) -> dict[str, Any]:
    """`tree` less nulls and empty mappings on the way to `keys`: both mean "not written"."""
    result = dict(tree)
    if keys and isinstance(result.get(keys[0]), dict) and len(keys) > 1:
        result[keys[0]] = _without_nothing(result[keys[0]], keys[1:])
    return {key: value for key, value in result.items() if value is not None and value != {}}


def _owns(table: Table, key: str) -> bool:
    """Whether the mapping writes the key itself, not a `<<` in it."""
    return key in table.entries and table.entries[key].key_start >= table.start


def _deepest(root: Table | None, keys: Keys) -> tuple[Table | None, Keys]:
    """(the mapping that is nearest to the place, the keys from there on)."""
    table, rest = root, keys
    while table is not None and len(rest) > 1 and _owns(table, rest[0]):
        entry = table.entries[rest[0]]
        if not isinstance(entry.value, Table):
            break
        if entry.value.start != entry.start:
            raise EditError(f"{rest[0]} is written elsewhere in the file, behind an alias (*)")
        table, rest = entry.value, rest[1:]
    return table, rest


def _spliced(text: str, root: Table | None, change: Change) -> str:
    table, (key, *below) = _deepest(root, change.keys)
    value = change.value
    if value is None:
        if table is None or below or key not in table.entries:
            return text
        if not _owns(table, key):
            return _inserted(text, root, table, key, None)
        return _removed(text, root, table, change.keys)
    for missing in reversed(below):
        value = {missing: value}
    if table is None:
        return _appended(text, {key: value})
    if _owns(table, key):
        return _replaced(text, root, table, table.entries[key], value)
    return _inserted(text, root, table, key, value)


def _appended(text: str, value: dict[str, Any]) -> str:
    """To a file in which nothing is declared."""
    newline = newline_of(text)
    if text and not text.endswith("\n"):
        text += newline
    return text + "".join(line + newline for line in emit(value).body)


def _inserted(text: str, root: Table | None, table: Table, key: str, value: Any) -> str:
    """A new last entry of a mapping."""
    if table.is_flow:
        return _inserted_in_braces(text, table, key, value)
    own = [entry for name, entry in table.entries.items() if _owns(table, name)]
    indent = " " * column(text, own[0].key_start if own else table.start)
    last = max(own, key=lambda entry: entry.end, default=None)
    end = content_end(text, last) if last is not None and last.end == table.end else table.end
    newline = newline_of(text)
    below = emit({key: value}, step_of(text, root)).body
    # A new section goes to the end of the file: comments there may belong to the last one.
    at = len(text) if table is root else beyond_line(text, end)
    begin = newline if at and text[at - 1] != "\n" else ""
    return text[:at] + begin + "".join(_indented(indent, below, newline)) + text[at:]


def _inserted_in_braces(text: str, table: Table, key: str, value: Any) -> str:
    own = [entry for name, entry in table.entries.items() if _owns(table, name)]
    new = f"{key_of(key)}: {inline(_flat(value))}"
    if table.end == table.start or not table.entries:
        at = text.index("{", table.start) + 1
        return text[:at] + new + text[at:]
    if not own:
        raise EditError("it is written in a way that only a hand can edit")
    at = max(entry.end for entry in own)
    return text[:at] + ", " + new + text[at:]


def _flat(value: Any) -> Any:
    """`value` as it can stand inside braces."""
    return fragment(value) if isinstance(value, Written) else value


def _indented(indent: str, lines: Iterable[str], newline: str) -> list[str]:
    return [(indent + line if line else "") + newline for line in lines]


def _replaced(text: str, root: Table | None, table: Table, entry: Entry, value: Any) -> str:
    if table.is_flow:
        new = inline(_flat(value))
        return text[: entry.start] + _behind_colon(text, entry, new) + text[entry.end :]
    if isinstance(value, list | tuple):
        merged = changed_list(text, entry, list(value))
        if merged is not None:
            return merged
    below = emit(value, step_of(text, root))
    end = content_end(text, entry, is_kept=False)
    hoisted: list[str] = []
    newline = newline_of(text)
    key_column = column(text, entry.key_start)
    if is_inline(text, entry) and not below.body:
        hoisted = comments_in(text, entry.start, end, entry.value)
        result = text[: entry.start] + _behind_colon(text, entry, below.head) + text[end:]
    else:
        colon = value_colon(text, entry)
        stop = end
        if is_inline(text, entry):
            comment, stop = trailing_comment(text, end)
            hoisted = comments_in(text, entry.start, end, entry.value)
        else:
            comment, _ = trailing_comment(text, header_end(text, entry, colon + 1))
            if text[entry.start] not in "|>":
                _, stop = trailing_comment(text, end)
                hoisted = comments_in(text, colon + 1, stop, entry.value)
                hoisted = hoisted[1:] if comment else hoisted
        head = (" " + below.head if below.head else "") + ("  " + comment if comment else "")
        indent = " " * (key_column + step_of(text, root))
        body = "".join(newline + (indent + line if line else "") for line in below.body)
        result = text[: colon + 1] + head + body + text[stop:]
    at = line_start(text, entry.key_start)
    above = "".join(_indented(" " * key_column, hoisted, newline))
    return result[:at] + above + result[at:]


def _behind_colon(text: str, entry: Entry, new: str) -> str:
    """`new` in the place of the entry's value, which may be nothing at all."""
    if entry.start != entry.end:
        return new
    before = text[entry.key_end : entry.start]
    if ":" not in before:
        return ": " + new
    return new if before[-1:].isspace() else " " + new


def _removed(text: str, root: Table | None, table: Table, keys: Keys) -> str:
    """A key with a comment of its own becomes null and keeps it; others go with their lines."""
    entry = table.entries[keys[-1]]
    end = content_end(text, entry)
    comment, _ = trailing_comment(text, end)
    if not table.is_flow and is_inline(text, entry) and comment:
        return _replaced(text, root, table, entry, Written("null"))
    *above_keys, own_key, _ = ("", *keys)
    above, _ = _deepest(root, keys[:-1]) if len(above_keys) > 1 else (None, ())
    if above is not None and len(table.entries) == 1 and own_key in above.entries:
        holder = above.entries[own_key]
        stop = end if table.is_flow else beyond_line(text, end)
        if not comments_in(text, holder.key_end, stop, holder.value):
            return _removed(text, root, above, keys[:-1])
    if table.is_flow:
        return _removed_from_braces(text, table, keys[-1])
    start = line_start(text, entry.key_start)
    if text[start : entry.key_start].strip():
        raise EditError("it is written in a way that only a hand can edit")
    return text[:start] + text[beyond_line(text, end) :]


def _removed_from_braces(text: str, table: Table, key: str) -> str:
    names = [name for name in table.entries if _owns(table, name)]
    entry, index = table.entries[key], names.index(key)
    if index:
        return text[: table.entries[names[index - 1]].end] + text[entry.end :]
    start = entry.key_start
    stop = table.entries[names[1]].key_start if len(names) > 1 else entry.end
    return text[:start] + text[stop:]
