"""An engine without a model: every sequence gets a token at a steady rate. A real program.

Given to a supervisor as its command, it speaks the wire protocol as the real engine does: one
message a step with the rows of all sequences in it, statistics twice a second.
"""

from __future__ import annotations

import argparse
import select
import socket
import time

from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.channel import Decoder, encode

STATS_S = 0.5
FIRST_TOKEN, TOKENS = 300, 700  # ids of ordinary pieces of words in the benchmarks' models


class Sequence:
    """One request and how far it is."""

    def __init__(self, message: wire.Generate) -> None:
        self.id = message.id
        self.sent = len(message.output)
        self.max_tokens = message.sampling.max_tokens

    def row(self) -> wire.TokenRow:
        token = FIRST_TOKEN + (self.id * 31 + self.sent * 7) % TOKENS
        self.sent += 1
        return wire.TokenRow(self.id, [token], "length" if self.sent >= self.max_tokens else None)


def serve(connection: socket.socket, step_s: float) -> None:
    """Until the other end says Stop or is gone."""
    decoder: Decoder[wire.ToEngine] = Decoder(wire.ToEngine)
    sequences: dict[int, Sequence] = {}
    output_tokens = 0
    next_step_s = next_stats_s = time.monotonic()
    while True:
        now_s = time.monotonic()
        wait_s = max(0.0, next_step_s - now_s) if sequences else None
        if select.select([connection], [], [], wait_s)[0]:
            data = connection.recv(1 << 20)
            if not data:
                return
            for message in decoder.feed(data):
                if isinstance(message, wire.Load):
                    ready = wire.Ready(1 << 20, 1 << 20, 1000, 10, batches=True)
                    connection.sendall(encode(ready))
                elif isinstance(message, wire.Generate):
                    if not sequences:
                        next_step_s = time.monotonic() + step_s
                    sequences[message.id] = Sequence(message)
                elif isinstance(message, wire.Abort):
                    sequences.pop(message.id, None)
                elif isinstance(message, wire.Stop):
                    return
        now_s = time.monotonic()
        if not sequences or now_s < next_step_s:
            continue
        next_step_s = max(next_step_s + step_s, now_s)  # what is late is not made up for in a burst
        rows = [sequence.row() for sequence in sequences.values()]
        for row in rows:
            if row.finish is not None:
                del sequences[row.id]
        connection.sendall(encode(wire.Tokens(rows)))
        output_tokens += len(rows)
        if now_s >= next_stats_s:
            next_stats_s = now_s + STATS_S
            connection.sendall(encode(_stats(len(sequences), output_tokens)))


def _stats(running: int, output_tokens: int) -> wire.Stats:
    return wire.Stats(
        running=running,
        waiting=0,
        memory_bytes=1000,
        peak_memory_bytes=1000,
        kv_bytes=0,
        kv_tokens=0,
        steps=0,
        output_tokens=output_tokens,
        prompt_tokens=0,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step-ms", type=float, required=True)
    parser.add_argument("--fd", type=int, required=True)
    options = parser.parse_args()
    with socket.socket(fileno=options.fd) as own:
        serve(own, options.step_ms / 1000)
