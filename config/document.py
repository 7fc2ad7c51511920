"""YAML text → plain values, with the place of every key and value.

Built on the parser's events instead of `yaml.compose`: nothing recurses, so that depth, number
of values and what aliases expand to are bounded while the text is read, and nodes keep their
place in it. What a scalar means is said in `scalars.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from .scalars import FORBIDDEN, VariableProblem, is_null, resolve, substitute

MAX_CHARACTERS = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 100_000  # after aliases are expanded

Loc = tuple[str | int, ...]  # ("models", "demo", "aliases", 0), as in pydantic's errors

# libyaml when PyYAML was built with it: the same events, ten times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING_TAGS = ("!", "tag:yaml.org,2002:str")


class Problem(Exception):
    """Something wrong at `index` (characters from the start of the text)."""

    def __init__(self, index: int, message: str, *, loc: Loc = (), hint: str | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.message = message
        self.loc = loc
        self.hint = hint


@dataclass(slots=True)
class Scalar:
    start: int
    end: int
    text: str
    is_plain: bool  # not quoted: `5` is a number and `null` is nothing
    size: int = 1
    height: int = 0


@dataclass(slots=True)
class Sequence:
    start: int
    items: list[Node] = field(default_factory=list)
    is_flow: bool = False  # in brackets
    end: int = 0  # of its last value, or behind the bracket
    size: int = 1  # values in it, itself included, aliases expanded
    height: int = 0  # levels below it, aliases expanded


@dataclass(slots=True)
class Entry:
    key_start: int
    key_end: int
    value: Node
    start: int  # of the value where this entry writes it: an alias lies elsewhere than its node
    end: int


@dataclass(slots=True)
class Table:
    """A mapping. Keys are texts as written: `models: {7b: …, on: …}` means what it says."""

    start: int
    entries: dict[str, Entry] = field(default_factory=dict)
    is_flow: bool = False  # in braces
    end: int = 0  # of its last value, or behind the brace
    key: Scalar | None = None  # whose value comes next, while the mapping is being read
    size: int = 1
    height: int = 0


Node = Scalar | Sequence | Table


def line_and_column(text: str, index: int) -> tuple[int, int]:
    """Both from 1, as editors count; always inside `text`."""
    index = min(max(index, 0), len(text))
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def parse(text: str) -> Table | None:
    """The document's mapping, or None when there is nothing in it. Raises Problem."""
    if len(text) > MAX_CHARACTERS:
        raise Problem(MAX_CHARACTERS, f"the file is longer than {MAX_CHARACTERS:,} characters")
    bad = FORBIDDEN.search(text)
    if bad is not None:
        raise Problem(bad.start(), f"the character U+{ord(bad[0]):04X} is not allowed")
    try:
        root = _Reader(text).read()
    except yaml.MarkedYAMLError as error:
        raise _syntax_problem(text, error) from error
    except yaml.YAMLError as error:  # only PyYAML's reader: a character it does not take
        raise Problem(getattr(error, "position", 0), str(error)) from error
    if root is None or (isinstance(root, Scalar) and root.is_plain and is_null(root.text)):
        return None
    if not isinstance(root, Table):
        raise Problem(root.start, "the file must be a mapping, that is, lines such as 'server:'")
    return root


def values(node: Node, text: str, environ: Mapping[str, str], loc: Loc = ()) -> Any:
    """`node` as dicts, lists and scalars, with `${VAR}` replaced. Raises Problem."""
    if isinstance(node, Table):
        return {k: values(e.value, text, environ, (*loc, k)) for k, e in node.entries.items()}
    if isinstance(node, Sequence):
        return [values(n, text, environ, (*loc, i)) for i, n in enumerate(node.items)]
    try:
        content = substitute(node.text, environ) if "${" in node.text else node.text
    except VariableProblem as error:
        # Escapes and folded lines may hide it in the text; then the scalar's start will do.
        index = text.find(error.reference, node.start, node.end)
        raise Problem(max(index, node.start), str(error), loc=loc) from error
    return resolve(content) if node.is_plain else content


def index_of(root: Node | None, loc: Loc, *, of_key: bool = False) -> int:
    """Where the value at `loc` begins, or its key; of what is not written, what should hold it."""
    index, node = 0, root
    for position, part in enumerate(loc):
        last = position == len(loc) - 1
        if isinstance(node, Table) and isinstance(part, str) and part in node.entries:
            entry = node.entries[part]
            node = entry.value
            next_part = None if last else loc[position + 1]
            missing = (
                isinstance(node, Table)
                and isinstance(next_part, str)
                and (next_part not in node.entries)
            )
            index = entry.key_start if missing or (last and of_key) else node.start
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            index = node.start
        else:
            break
    return index


def _syntax_problem(text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    index = mark.index if mark is not None else 0
    message = error.problem or "cannot be read as YAML"
    if error.context:
        message += f", {error.context}"
        if error.context_mark is not None:
            line, _ = line_and_column(text, error.context_mark.index)
            message += f" that begins on line {line}"
    hint = None
    if text[index : index + 1] == "\t":
        hint = "indent with spaces, not tabs"
    elif "${" in text[text.rfind("\n", 0, index) + 1 : index + 1]:
        hint = 'inside { } and [ ] put it in quotes: "${…}"'
    return Problem(index, message, hint=hint)


class _Reader:
    """Events → nodes. `stack` holds the containers that are open; a closed one joins its parent."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.stack: list[Sequence | Table] = []
        self.anchors: dict[str, Node | None] = {}  # None: not yet closed
        self.names: list[str | None] = []  # the anchors of `stack`
        self.root: Node | None = None

    def read(self) -> Node | None:
        documents = 0
        for event in self._events():
            index = event.start_mark.index
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise Problem(
                        index, "the file must hold one YAML document, without a second '---'"
                    )
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.SequenceStartEvent | yaml.MappingStartEvent):
                self._open(event)
            elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                self._close(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
        return self.root

    def _events(self) -> Iterator[Any]:
        return yaml.parse(self.text, Loader=_LOADER)

    def _scalar(self, event: Any) -> None:
        start = event.start_mark.index
        bad = FORBIDDEN.search(event.value)  # through an escape such as "\0"
        if bad is not None:
            raise Problem(start, f"the character U+{ord(bad[0]):04X} is not allowed")
        self._check_tag(event, allowed=_STRING_TAGS)
        node = Scalar(start, event.end_mark.index, event.value, is_plain=event.implicit[0])
        if event.anchor:
            self.anchors[event.anchor] = node
        self._add(node, start, node.end)

    def _open(self, event: Any) -> None:
        self._check_tag(event, allowed=())
        start = event.start_mark.index
        if len(self.stack) >= MAX_DEPTH:
            raise Problem(start, f"nested more than {MAX_DEPTH} levels deep", loc=self._loc())
        is_list = isinstance(event, yaml.SequenceStartEvent)
        node = Sequence(start) if is_list else Table(start)
        node.is_flow, node.end = bool(event.flow_style), event.end_mark.index
        self.stack.append(node)
        self.names.append(event.anchor)
        if event.anchor:
            self.anchors[event.anchor] = None

    def _close(self, event: Any) -> None:
        node = self.stack.pop()
        name = self.names.pop()
        if name:
            self.anchors[name] = node
        if node.is_flow:  # the end of a block is where the next thing begins, comments behind it
            node.end = event.end_mark.index
        self._add(node, node.start, node.end)

    def _alias(self, event: Any) -> None:
        start = event.start_mark.index
        if event.anchor not in self.anchors:
            raise Problem(start, f"no anchor &{event.anchor} before this alias", loc=self._loc())
        node = self.anchors[event.anchor]
        if node is None:
            raise Problem(start, f"*{event.anchor} stands inside &{event.anchor}", loc=self._loc())
        self._add(node, start, event.end_mark.index)

    def _add(self, node: Node, index: int, end: int) -> None:
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        parent.end = end
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif parent.key is None:
            self._key(parent, node, index, end)
        elif parent.key.is_plain and parent.key.text == "<<":
            self._merge(parent, node, index)
            parent.key = None
        else:
            key = parent.key
            parent.entries[key.text] = Entry(key.start, key.end, node, index, end)
            parent.key = None
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if parent.height > MAX_DEPTH:
            raise Problem(index, f"nested more than {MAX_DEPTH} levels deep", loc=self._loc())
        if parent.size > MAX_VALUES:
            raise Problem(index, f"more than {MAX_VALUES:,} values", loc=self._loc())

    def _key(self, table: Table, node: Node, index: int, end: int) -> None:
        if not isinstance(node, Scalar):
            raise Problem(index, "a key must be a plain text", loc=self._loc())
        if node.start != index:  # an alias: its place is here
            node = Scalar(index, end, node.text, node.is_plain)
        first = table.entries.get(node.text)
        # A key that came by a merge may be overridden; those lie before the mapping.
        if first is not None and first.key_start >= table.start:
            line, _ = line_and_column(self.text, first.key_start)
            loc = (*self._loc(), node.text)
            raise Problem(index, f"written twice; the first is on line {line}", loc=loc)
        table.key = node

    def _merge(self, table: Table, node: Node, index: int) -> None:
        """`<<: *base`: the keys of `base` that the mapping does not write itself."""
        for base in node.items if isinstance(node, Sequence) else [node]:
            if not isinstance(base, Table):
                raise Problem(index, "<< takes a mapping, such as *base", loc=self._loc())
            table.entries = base.entries | table.entries

    def _check_tag(self, event: Any, allowed: tuple[str, ...]) -> None:
        if event.tag is not None and event.tag not in allowed:
            index = event.start_mark.index
            raise Problem(index, f"YAML tags such as {event.tag} are not allowed", loc=self._loc())

    def _loc(self) -> Loc:
        parts: list[str | int] = []
        for node in self.stack:
            if isinstance(node, Sequence):
                parts.append(len(node.items))
            elif node.key is not None:
                parts.append(node.key.text)
        return tuple(parts)
