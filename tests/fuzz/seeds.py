"""Inputs from which a fuzzer comes further than from nothing, for each target."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
from fastmlx.daemon.engine.kv.cold import file
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.channel import encode
from fuzz.bodies import READERS
from fuzz.targets import BLOCK, REASONING, TOOLS
from fuzz.words import ROOT
from pdf import pdf


def seeds(name: str) -> Iterator[bytes]:
    if name == "wire_decoding":
        for mode in (4, 5, 6, 7):
            yield from (bytes((mode, each)) + bytes(range(each, 256, 3)) for each in range(10))
        yield b"\1" + encode(wire.Stop()) * 2
        yield b"\2" + msgspec.msgpack.encode(wire.Tokens([wire.TokenRow(1, [2, 3])]))
    elif name in ("config_loading", "config_editing"):
        edit = b"\3" if name == "config_editing" else b""
        yield edit + (ROOT / "config" / "default.yaml").read_bytes()
        yield edit + (
            b"server: {port: 1}\nmodels:\n  a: {path: x/y, aliases: [b], idle_timeout: ${X:-1s}}\n"
            b"  b: &b\n    path: z\n    aliases:\n    - c  # d\n"
            b"    adapters: [{name: e, path: f}]\n"
            b"  c: {<<: *b, context: 5}\ncache: {directory: x, hot: 1GB}\ndiscover: [~/m]\n"
            b"FASTMLX_SERVER__PORT=3;FASTMLX_CACHE__HOT=2GB"
        )
    elif name in ("cold_files", "weight_files"):
        header = {
            "__metadata__": {
                "format": file.FORMAT,
                "hash": BLOCK.hex(),
                "model": "m",
                "kind": "block",
                "position": "4",
                "tokens": "4",
                "meta.x": "y",
                "checksum": "",
            },
            "k": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "v": {"dtype": "BF16", "shape": [2, 1], "data_offsets": [16, 20]},
        }
        yield (b"" if name == "cold_files" else b"\x14") + json.dumps(header).encode()
    elif name == "request_bodies":
        for number in range(len(READERS)):
            for mode in (2, 1):
                for step in (1, 3, 7):
                    yield bytes((number, mode)) + bytes((i * step) % 256 for i in range(1, 400))
    elif name == "mcp_declarations":
        yield json.dumps(
            {
                "mcpServers": {
                    "a": {"command": "x", "args": ["${HOME}", 1], "env": {"A": "${B:-c}"}},
                    "b": {"url": "https://h:1/sse?x", "type": "sse", "headers": {"K": "v"}},
                }
            }
        ).encode()
    elif name == "attached_files":
        yield pdf("Kettles whistle").removeprefix(b"%PDF-")
    elif name == "markdown":
        yield (
            b"# a\n\n* b **c** `d` <script>e</script> [f](javascript:g) [h](https://i 'j')\n"
            b"3. k\n\n|l|m|\n|:-|-|\n|n|o|\n\n```python\nif p: q = '<r>'\n```\n"
            b"~~s~~ ![t](u) <v@w.x>\n"
            b"[y]: http://z\n[y] &lt; &#0; \\* ---\n> aa"
        )
    else:
        for number, module in enumerate(TOOLS if name == "tool_parsers" else REASONING):
            for place, example in enumerate(module.EXAMPLES):
                yield bytes((number, 8 * place + 3, place)) + example.output.encode()
