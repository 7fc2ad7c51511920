"""What may be fed any bytes: each function returns for whatever it is given, or there is a fault.

Many read their input's first bytes as the choice of what is tried, and how.
"""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from fastmlx.admin.attachments import Upload
from fastmlx.admin.attachments import read as read_file
from fastmlx.admin.markdown import to_html
from fastmlx.config.document import Problem
from fastmlx.config.edit import Change, EditError, edited, written
from fastmlx.config.errors import ConfigError
from fastmlx.config.load import load
from fastmlx.config.settings import Settings
from fastmlx.daemon.engine.kv.cold import file
from fastmlx.daemon.hub.weights import read_header
from fastmlx.daemon.mcp import declared
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.channel import ChannelError, Decoder, encode
from fastmlx.daemon.protocol.errors import BadRequest, ModelFailed
from fastmlx.daemon.protocol.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStarted,
)
from fastmlx.daemon.text.model_text import REASONING_PARSERS, TOOL_PARSERS
from fuzz.bodies import READERS, read_body
from fuzz.maker import Maker
from fuzz.words import words

BLOCK = bytes(range(20))
HERE = Path("/somewhere/config.yaml")
TOOLS = [TOOL_PARSERS.get(name) for name in TOOL_PARSERS.names()]
REASONING = [REASONING_PARSERS.get(name) for name in REASONING_PARSERS.names()]
_KINDS: tuple[Any, ...] = (wire.ToFront, wire.ToEngine)


def wire_decoding(data: bytes) -> None:
    """The first byte says how the stream is cut, and what it is made of: the bytes as they are, one
    frame around them, or messages of our types that are made of them."""
    mode, data = data[0] if data else 0, data[1:]
    kind = _KINDS[mode & 1]
    if mode & 6 == 2:
        data = len(data).to_bytes(4, "little") + data
    elif mode & 6 > 2:
        maker = Maker(data, words("wire_decoding"), faults=mode & 6 == 6)
        bodies = [msgspec.msgpack.encode(maker.of(kind)) for _ in range(1 + maker.byte() % 3)]
        data = b"".join(len(body).to_bytes(4, "little") + body for body in bodies)
    decoder, messages = Decoder[msgspec.Struct](kind), []
    try:
        for piece in _cut(data, mode >> 3):
            messages += decoder.feed(piece)
    except ChannelError:
        assert mode & 6 != 4, "a message of ours was refused"
    for message in messages:
        (again,) = Decoder[msgspec.Struct](kind).feed(encode(message))
        # By its text: NaN is not equal to itself.
        assert repr(again) == repr(message)


def tool_parsers(data: bytes) -> None:
    """Arguments are JSON objects, whatever the model wrote; what is no call is text."""
    module, text, pieces = _output(TOOLS, data)
    declared = module.EXAMPLES[data[2] % len(module.EXAMPLES)].tools if len(data) > 2 else ()
    whole, parts = (_Joined(module.Parser(0, declared), cut) for cut in ([text], pieces))
    assert whole == parts, module.__name__
    for name, arguments in whole.calls:
        assert name
        assert isinstance(json.loads(arguments or "{}"), dict), arguments
    if whole.calls:
        assert _is_within(whole.text, text), module.__name__
    else:
        assert whole.text == text, module.__name__


def reasoning_parsers(data: bytes) -> None:
    """No character is lost but those of marks and line ends around them."""
    module, text, pieces = _output(REASONING, data)
    opened = len(data) > 2 and data[2] % 2 == 1
    whole, parts = (_Joined(module.Parser(0, opened=opened), cut) for cut in ([text], pieces))
    assert whole == parts, module.__name__
    told = whole.reasoning + whole.text
    if module.__name__.endswith("harmony"):
        assert _is_within(whole.text, text)
        assert _is_within(whole.reasoning, text)
    else:
        bare, opening, closing = (_bare(each) for each in (text, module.OPEN, module.CLOSE))
        outcomes = (
            bare,
            bare.replace(opening, "", 1),
            bare.replace(closing, "", 1),
            bare.replace(opening, "", 1).replace(closing, "", 1),
        )
        assert _bare(told) in outcomes, module.__name__


def _output(modules: list[ModuleType], data: bytes) -> tuple[ModuleType, str, list[str]]:
    """The first byte chooses the format, the second how the text is cut."""
    start = data[:2] + bytes(2)
    text = data[3:].decode(errors="replace")
    return modules[start[0] % len(modules)], text, list(_cut(text, start[1]))


def _cut(whole: Any, how: int) -> Iterator[Any]:
    """Pieces of one length or, where `how` is odd, of lengths by chance."""
    chance = random.Random(how)
    at = 0
    while at < len(whole):
        size = chance.randrange(1, 2 + how // 4) if how & 1 else how // 2 + 1
        yield whole[at : at + size]
        at += size


class _Joined:
    """What a parser makes of pieces."""

    def __init__(self, parser: Any, pieces: list[str]) -> None:
        self.text = self.reasoning = ""
        self.calls: list[tuple[str, str]] = []
        for piece in pieces:
            self._add(parser.push(piece))
        self._add(parser.finish())

    def _add(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case TextDelta():
                    self.text += event.text
                case ReasoningDelta():
                    self.reasoning += event.text
                case ToolCallStarted():
                    self.calls.append((event.name, ""))
                case ToolCallArguments():
                    name, arguments = self.calls[-1]
                    self.calls[-1] = name, arguments + event.arguments

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other)


def _is_within(part: str, whole: str) -> bool:
    """Whether `whole` has these characters in this order."""
    rest = iter(whole)
    return all(character in rest for character in part)


def _bare(text: str) -> str:
    return "".join(text.split())


def config_loading(data: bytes) -> None:
    """The last line is the environment, if it looks like one."""
    text, _, last = data.decode(errors="replace").rpartition("\n")
    environ = dict(re.findall(r"([\w.]+)=([^;\0]*)", last))
    if not environ:
        text += "\n" + last
    try:
        settings = load(text, HERE, environ)
    except ConfigError as error:
        assert error.message
        str(error)
    else:
        assert Settings(**settings.model_dump()) == settings


def config_editing(data: bytes) -> None:
    """The first bytes choose what is changed; what the text says beside it stays."""
    keys, value = _EDITS[data[0] % len(_EDITS) if data else 0]
    text = data[1:].decode(errors="replace")
    try:
        before = written(text)
        result = edited(text, [Change(keys, value)])
    except (EditError, Problem):
        return
    after = written(result)
    for key in before.keys() | after.keys():
        if key != keys[0]:
            assert before.get(key) == after.get(key)


_EDITS: list[tuple[tuple[str, ...], Any]] = [
    (("server", "port"), 1),
    (("server", "host"), None),
    (("models", "a"), {"path": "x/y", "aliases": ["b", "c"]}),
    (("models", "a"), None),
    (("models", "a", "aliases"), ["d: e", "#f"]),
    (("models", "a", "system_prompt"), "two\nlines\n"),
    (("discover",), ["x", "y"]),
]


def cold_files(data: bytes) -> None:
    """As a whole file, and as the header of one, also with the checksum that it should have."""
    header = len(data).to_bytes(8, "little") + data + bytes(64)
    for whole in (data, header, _with_checksum(data)):
        try:
            blob = file.decode(BLOCK, memoryview(whole))
        except file.BadFile as error:
            assert str(error)
        else:
            again = file.encode(BLOCK, blob)
            assert file.decode(BLOCK, memoryview(b"".join(again.buffers))) == blob


def _with_checksum(data: bytes) -> bytes:
    """A file with this header, as long as it says and with its checksum."""
    try:
        entries = json.loads(data)
        metadata = {k: v for k, v in entries.pop("__metadata__").items() if k != "checksum"}
        size = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        body = bytes(int(min(size, 1 << 16)))
        metadata["checksum"] = file._checksum(entries, metadata, [body])
        text = json.dumps({"__metadata__": metadata, **entries}).encode()
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return b""
    return len(text).to_bytes(8, "little") + text + body


def weight_files(data: bytes) -> None:
    """As a header, behind which the data are as long as the first byte says."""
    size, header = data[0] if data else 0, data[1:]
    path = Path(_folder().name) / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
    try:
        for name, tensor in read_header(path).items():
            begin, end = tensor.data_offsets
            assert 0 <= begin <= end <= size, name
    except ModelFailed as error:
        assert str(error)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fuzz-")


def request_bodies(data: bytes) -> None:
    """The first byte chooses the endpoint, the second whether the rest is a body or makes one."""
    start = data[:2] + bytes(2)
    name = list(READERS)[start[0] % len(READERS)]
    body = data[2:]
    if start[1] % 4:
        maker = Maker(body, words("request_bodies"), faults=start[1] % 4 == 1)
        made = maker.of(READERS[name].shape)
        body = msgspec.json.encode(made | {"model": "m"} if isinstance(made, dict) else made)
    try:
        read_body(name, body)
    except BadRequest as error:
        assert error.message


def mcp_declarations(data: bytes) -> None:
    try:
        for spec in declared.read(data.decode(errors="replace"), HERE, {"HOME": "/h"}).values():
            assert spec.where()
    except ConfigError as error:
        assert error.message


def markdown(data: bytes) -> None:
    """Only elements that Markdown knows, with harmless addresses: nothing of the text's own."""
    for coloured in (True, False):
        html = to_html(data.decode(errors="replace"), coloured=coloured)
        for tag, attributes in re.findall(r"<\s*/?\s*([^\s>/]+)([^>]*)>", html):
            assert _ELEMENTS.fullmatch(tag), tag
            for name, value in re.findall(r'([\w-]+)="([^"]*)"', attributes):
                assert _ATTRIBUTES.fullmatch(name), name
                if name == "href":
                    assert value.lower().startswith(("http://", "https://", "mailto:")), value


def attached_files(data: bytes) -> None:
    """As a PDF, and as whatever it looks like."""
    for whole in (b"%PDF-" + data, data):
        try:
            read_file(Upload("a", "", whole))
        except BadRequest as error:
            assert error.message


_ELEMENTS = re.compile(
    "a|blockquote|br|code|del|em|h[1-6r]|li|ol|p|pre|s|span|strong|table|tbody|t[dhr]|thead|ul"
)
_ATTRIBUTES = re.compile("class|href|rel|start|style|target|title")

TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        wire_decoding,
        tool_parsers,
        reasoning_parsers,
        config_loading,
        config_editing,
        cold_files,
        weight_files,
        request_bodies,
        mcp_declarations,
        markdown,
        attached_files,
    )
}
