"""An engine that says what it is told: a real program behind the real wire protocol.

`script.json` in the model's folder holds the tokens that every sequence gets, one a step; the last
one is the stop token. PAUSE among them is a silence, DIE the end of the process: a sequence that is
replayed then goes on where it was. With a list of such lists the first sequence gets the first, and
so on; the last one serves all that follow. It is read again when it is replaced. `prompts.jsonl`
there gets the prompts that came, a line each.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.channel import Decoder, encode

PAUSE, DIE = -1, -2
PAUSE_S = 0.3


def play(script: list[int], out: int) -> Iterator[tuple[int, str | None]]:
    """Tokens behind the first `out`, with how the sequence ends."""
    for place, token in enumerate(script):
        if token == DIE:
            os._exit(1)
        elif token == PAUSE:
            time.sleep(PAUSE_S)
        elif out > 0:
            out -= 1
        else:
            yield token, "stop" if place == len(script) - 1 else None


def main() -> None:
    scripts: list[list[int]] = []
    file, read = Path(), 0
    decoder: Decoder[wire.ToEngine] = Decoder(wire.ToEngine)
    with socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1])) as connection:
        while data := connection.recv(65536):
            for message in decoder.feed(data):
                if isinstance(message, wire.Load):
                    file = Path(message.path) / "script.json"
                    ready = wire.Ready(4096, 1 << 20, 1000, 10, batches=True)
                    connection.sendall(encode(ready))
                elif isinstance(message, wire.Generate):
                    if file.stat().st_ino != read:
                        read = file.stat().st_ino
                        found = json.loads(file.read_text())
                        scripts = found if isinstance(found[0], list) else [found]
                    with file.with_name("prompts.jsonl").open("a") as prompts:
                        print(json.dumps(list(message.prompt)), file=prompts)
                    script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
                    for token, finish in play(script, len(message.output)):
                        row = wire.TokenRow(message.id, [token], finish)
                        connection.sendall(encode(wire.Tokens([row])))
                elif isinstance(message, wire.Stop):
                    return


if __name__ == "__main__":
    main()
