"""An engine that says what it is told: a real program behind the real wire protocol.

`script.json` in the model's folder holds the tokens that every sequence gets, one a step; the last
one is the stop token.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.channel import Decoder, encode


def main() -> None:
    script: list[int] = []
    decoder: Decoder[wire.ToEngine] = Decoder(wire.ToEngine)
    with socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1])) as connection:
        while data := connection.recv(65536):
            for message in decoder.feed(data):
                if isinstance(message, wire.Load):
                    script = json.loads((Path(message.path) / "script.json").read_text())
                    ready = wire.Ready(4096, 1 << 20, 1000, 10, batches=True)
                    connection.sendall(encode(ready))
                elif isinstance(message, wire.Generate):
                    for place, token in enumerate(script):
                        finish = "stop" if place == len(script) - 1 else None
                        row = wire.TokenRow(message.id, [token], finish)
                        connection.sendall(encode(wire.Tokens([row])))
                elif isinstance(message, wire.Stop):
                    return


if __name__ == "__main__":
    main()
