"""An engine that speaks the wire protocol and misbehaves on demand; a real program.

The tokens of a sequence are a function of its prompt and the position (`token_at`), so a test
knows what an undisturbed stream would have been.

How it loads stands in `behaviour.json` in the model's folder (see Behaviour). What a sequence does
is said by its prompt: `[CRASH, n, …]` kills the process when n tokens are out, and so on.
Every start appends a line to `starts.txt` in the model's folder.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.channel import Decoder, encode

CRASH, HANG, GARBAGE, REJECT, REJECT_BAD, CRASH_IN_PAIRS, FREEZE, HUNGRY = range(9001, 9009)


class Behaviour(msgspec.Struct):
    load: str = "ready"  # crash, exit, fail, starve, hang, garbage
    load_s: float = 0.0
    fine_after: int = 0  # this many starts misbehave, later ones are fine; 0: none is
    step_s: float = 0.002
    memory_bytes: int = 1000
    ignore_stop: bool = False
    grandchild: bool = False
    short: bool = False  # of memory


def token_at(prompt: list[int], position: int) -> int:
    return (sum(prompt) * 31 + position * 7) % 1000


def expected(prompt: list[int], count: int) -> list[int]:
    return [token_at(prompt, position) for position in range(count)]


class Sequence:
    def __init__(self, message: wire.Generate) -> None:
        self.id = message.id
        self.prompt = message.prompt
        self.sent = len(message.output)
        self.max_tokens = message.sampling.max_tokens
        self.fresh = True
        assert message.output == expected(message.prompt, self.sent), "replayed with wrong output"


class Engine:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.decoder: Decoder[wire.ToEngine] = Decoder(wire.ToEngine)
        self.behaviour = Behaviour()
        self.sequences: dict[int, Sequence] = {}
        self.aborted: set[int] = set()
        self.output_tokens = 0
        self.last_stats = 0.0

    def send(self, message: msgspec.Struct) -> None:
        self.connection.sendall(encode(message))

    def load(self, message: wire.Load) -> None:
        folder = self.folder = Path(message.path)
        self.max_concurrent = message.max_concurrent
        with (folder / "starts.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
        starts = len((folder / "starts.txt").read_text().splitlines())
        path = folder / "behaviour.json"
        if path.exists():
            self.behaviour = msgspec.json.decode(path.read_bytes(), type=Behaviour)
        behaviour = self.behaviour
        if behaviour.ignore_stop:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if behaviour.grandchild:
            pid = os.fork()
            if pid == 0:  # and it keeps the socket open
                time.sleep(60)
                os._exit(0)
            (folder / "grandchild.txt").write_text(str(pid))
        self.send(wire.Loading("reading weights", 0.5))
        if behaviour.load_s:
            time.sleep(behaviour.load_s)
        load = "ready" if 0 < behaviour.fine_after < starts else behaviour.load
        if load == "crash":
            print("Metal ran out of patience", file=sys.stderr, flush=True)
            os.abort()
        elif load == "exit":
            sys.exit(3)
        elif load == "fail":
            self.send(wire.LoadFailed("the architecture 'weird' is not known"))
            time.sleep(30)  # and does not exit, either
        elif load == "starve":
            self.send(wire.LoadFailed("[malloc] Unable to allocate 8000000000 bytes."))
            sys.exit(1)
        elif load == "hang":
            time.sleep(60)
        elif load == "garbage":
            self.connection.sendall(b"\xff" * 64)
            time.sleep(60)
        before = message.warmed.model.decode() if message.warmed is not None else ""
        self.send(
            wire.Ready(
                context=4096,
                vocab_size=1000,
                memory_bytes=behaviour.memory_bytes,
                kv_bytes_per_token=10,
                batches=True,
                warmed=wire.Warmed(
                    model=f"{before}1".encode(),
                    vocab_size=1000,
                    kv_bytes_per_token=10,
                    restores=True,
                    note=None,
                    batches=True,
                    together=True,
                    pack_limit=0,
                    mixes=False,
                    starts=True,
                ),
            )
        )

    def run(self) -> None:
        while True:
            timeout = self.behaviour.step_s if self.sequences else None
            if select.select([self.connection], [], [], timeout)[0]:
                data = self.connection.recv(65536)
                if not data:
                    return
                for message in self.decoder.feed(data):
                    if not self.handle(message):
                        return
            if self.sequences:
                self.step()

    def handle(self, message: wire.ToEngine) -> bool:
        if isinstance(message, wire.Load):
            self.load(message)
        elif isinstance(message, wire.Generate):
            if message.prompt[0] in (REJECT, REJECT_BAD):
                bad = message.prompt[0] == REJECT_BAD
                self.send(wire.Rejected(message.id, "no such thing", bad_request=bad))
            else:
                self.sequences[message.id] = Sequence(message)
        elif isinstance(message, wire.Tune):
            with (self.folder / "tuned.txt").open("a") as file:
                file.write(f"{message.max_gap_s}\n")
        elif isinstance(message, wire.MemoryLimit):
            with (self.folder / "limits.txt").open("a") as file:
                file.write(f"{message.num_bytes}\n")
        elif isinstance(message, wire.CacheLimits):
            with (self.folder / "hot.txt").open("a") as file:
                file.write(f"{message.hot_bytes}\n")
        elif isinstance(message, wire.Abort):
            assert message.id not in self.aborted, "aborted twice"
            self.aborted.add(message.id)
            self.sequences.pop(message.id, None)
        elif isinstance(message, wire.Stop):
            return self.behaviour.ignore_stop
        return True

    def step(self) -> None:
        rows = []
        pairs = [s for s in self.sequences.values() if s.prompt[0] == CRASH_IN_PAIRS]
        if len(pairs) > 1 and all(s.sent >= s.prompt[1] for s in pairs):
            os.kill(os.getpid(), signal.SIGKILL)
        for sequence in list(self.sequences.values()):
            kind = sequence.prompt[0]
            if kind == FREEZE and sequence.sent >= sequence.prompt[1]:
                time.sleep(60)
            if kind == HUNGRY and self.max_concurrent > sequence.prompt[1]:
                print("[metal::malloc] Attempting to allocate too much", file=sys.stderr)
                for frame in range(sum(sequence.prompt[2:])):
                    print(f"  frame {frame} of a trace", file=sys.stderr)
                sys.exit(1)
            if kind in (CRASH, HANG, GARBAGE) and sequence.sent >= sequence.prompt[1]:
                if kind == CRASH:
                    os.kill(os.getpid(), signal.SIGKILL)
                elif kind == GARBAGE:
                    self.connection.sendall(b"\xff" * 64)
                continue
            token = token_at(sequence.prompt, sequence.sent)
            sequence.sent += 1
            finish = "length" if sequence.sent >= sequence.max_tokens else None
            cached = 5 if sequence.fresh else 0
            sequence.fresh = False
            rows.append(wire.TokenRow(sequence.id, [token], finish, cached))
            if finish:
                del self.sequences[sequence.id]
        if rows:
            self.output_tokens += len(rows)
            self.send(wire.Tokens(rows))
        now = time.monotonic()
        if now - self.last_stats > 0.2:
            self.last_stats = now
            self.send(
                wire.Stats(
                    running=len(self.sequences),
                    waiting=0,
                    memory_bytes=self.behaviour.memory_bytes,
                    peak_memory_bytes=self.behaviour.memory_bytes,
                    kv_bytes=0,
                    kv_tokens=0,
                    steps=0,
                    output_tokens=self.output_tokens,
                    prompt_tokens=0,
                    short=self.behaviour.short,
                )
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    with socket.socket(fileno=parser.parse_args().fd) as connection:
        Engine(connection).run()


if __name__ == "__main__":
    main()
