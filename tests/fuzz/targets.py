"""What may be fed any bytes: each function returns for whatever it is given, or there is a fault.

`seeds(name)` are inputs from which a fuzzer comes further than from nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import msgspec
from fastmlx.config.errors import ConfigError
from fastmlx.config.load import load
from fastmlx.daemon.engine.kv.cold import file
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.channel import ChannelError, Decoder, encode
from fastmlx.daemon.protocol.events import (
    Event,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStarted,
)
from fastmlx.daemon.text.model_text import REASONING_PARSERS, TOOL_PARSERS

BLOCK = bytes(range(20))
DEFAULT_YAML = Path(__file__).parents[2] / "config" / "default.yaml"
_TOOLS = [TOOL_PARSERS.get(name) for name in TOOL_PARSERS.names()]
_REASONING = [REASONING_PARSERS.get(name) for name in REASONING_PARSERS.names()]


def wire_decoding(data: bytes) -> None:
    """The first byte says where the stream is cut. What is decoded survives another round."""
    cut, data = data[:1], data[1:]
    at = cut[0] if cut else 0
    for kind in (wire.ToFront, wire.ToEngine):
        decoder = Decoder[msgspec.Struct](kind)
        try:
            for piece in (data[:at], data[at:]):
                for message in decoder.feed(piece):
                    (again,) = Decoder[msgspec.Struct](kind).feed(encode(message))
                    # By its text: NaN is not equal to itself.
                    assert repr(again) == repr(message)
        except ChannelError:
            pass


def tool_parsers(data: bytes) -> None:
    _parse(_TOOLS, data, lambda module: module.Parser(0, module.EXAMPLES[0].tools))


def reasoning_parsers(data: bytes) -> None:
    _parse(_REASONING, data, lambda module: module.Parser(0, opened=bool(data[1] & 1)))


def _parse(modules: list[ModuleType], data: bytes, make: Callable[[ModuleType], object]) -> None:
    """The first byte chooses the format, the second how long the pieces are. The events, joined,
    do not depend on the pieces."""
    if len(data) < 2:
        return
    module, size = modules[data[0] % len(modules)], data[1] // 2 + 1
    text = data[2:].decode(errors="replace")
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert _joined(make(module), pieces) == _joined(make(module), [text]), module.__name__


def _joined(parser, pieces: list[str]) -> list[str]:
    events: list[Event] = []
    for piece in pieces:
        events += parser.push(piece)
    events += parser.finish()
    joined = {TextDelta: "", ReasoningDelta: ""}
    calls: list[str] = []
    for event in events:
        if isinstance(event, TextDelta | ReasoningDelta):
            joined[type(event)] += event.text
        elif isinstance(event, ToolCallStarted):
            calls.append(f"{event.name}: ")
        elif isinstance(event, ToolCallArguments):
            calls[-1] += event.arguments
    return [joined[TextDelta], joined[ReasoningDelta], *calls]


def config_loading(data: bytes) -> None:
    try:
        load(data.decode(errors="replace"), Path("/somewhere/config.yaml"), {})
    except ConfigError as error:
        assert error.message
        str(error)


def cold_files(data: bytes) -> None:
    """As a whole file, and as the header of one."""
    for whole in (data, len(data).to_bytes(8, "little") + data + bytes(64)):
        try:
            file.decode(BLOCK, memoryview(whole))
        except file.BadFile as error:
            assert str(error)


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (wire_decoding, tool_parsers, reasoning_parsers, config_loading, cold_files)
}


def seeds(name: str) -> Iterator[bytes]:
    if name == "wire_decoding":
        yield b"\3" + encode(wire.Tokens([wire.TokenRow(1, [2, 3])]))
        yield b"\0" + encode(wire.Stop()) * 2
    elif name == "config_loading":
        yield DEFAULT_YAML.read_bytes()
        yield b"server: {port: 1}\nmodels:\n  a: {path: x/y, aliases: [b], idle_timeout: ${X:-1s}}"
    elif name == "cold_files":
        header = {
            "__metadata__": {
                "format": file.FORMAT,
                "hash": BLOCK.hex(),
                "model": "m",
                "kind": "block",
                "position": "4",
                "tokens": "4",
                "checksum": "",
            },
            "k": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        }
        yield json.dumps(header).encode()
    else:
        for number, module in enumerate(_TOOLS if name == "tool_parsers" else _REASONING):
            for example in module.EXAMPLES:
                yield bytes((number, 1)) + example.output.encode()
