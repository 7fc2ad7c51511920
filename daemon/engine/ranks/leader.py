"""Rank 0's end of the group: starts the others, tells them what the front said, watches them."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ...protocol.channel import ChannelError, Decoder, encode
from ...protocol.wire import (
    CacheLimits,
    Distributed,
    Load,
    LoadFailed,
    Ready,
    Stats,
    Stop,
    ToEngine,
    is_here,
)
from . import launch
from .lockstep import Lockstep
from .messages import Decision, FromFollower, FromLeader, Hello, Loaded, Messages, Start

if TYPE_CHECKING:
    import mlx.core as mx
    import mlx.nn as nn

    from .ring import Ring

_CHUNK_BYTES = 1 << 16
HOT_SHARE = 0.25  # of the memory for KV caches at most, that prefixes may have
_LAST_WORDS_S = 1.0  # for a rank that was told to stop, or whose pipe ended


class Leader(Lockstep):
    """Plain pipes carry what is shared, not collectives: a rank that waits for a pipe costs
    nothing, the payload needs no length sent ahead, and the end of a pipe is the end of a rank."""

    alone = False

    def __init__(self, load: Load, group: Distributed, fail: Callable[[str], None]) -> None:
        """Starts the other ranks. `fail` hears from another thread why one could not load, and
        must end the process. Raises OSError."""
        self._group = group
        self._fail = fail
        self._ring: Ring | None = None
        self._stopping = False
        self._stats: dict[int, Stats] = {}  # by rank, what it said last
        self._said: queue.SimpleQueue[tuple[int, Hello | Loaded]] = queue.SimpleQueue()
        self._here = [rank for rank, host in enumerate(group.hosts) if is_here(host)]
        self._load = of_each(load, len(self._here))
        self._addresses = [launch.address(host) for host in group.hosts]
        self._others: list[subprocess.Popen[bytes]] = []
        for rank, host in enumerate(group.hosts[1:], start=1):
            process = launch.start(host, rank)
            self._others.append(process)
            threading.Thread(target=self._read, args=(rank, process), daemon=True).start()

    # ---- Lockstep

    def load(self, load: Load) -> Load:
        return self._load

    def join(self) -> None:
        from .ring import Ring, free_port

        ports = {rank: hello.port for rank, hello in self._hear(Hello).items()} | {0: free_port()}
        addresses = tuple(f"{ip}:{ports[rank]}" for rank, ip in enumerate(self._addresses))
        self._tell(Start(self._load, addresses))
        self._ring = Ring(0, addresses, self._group.mode)

    def split(self, model: nn.Module, config: dict[str, Any]) -> None:
        assert self._ring is not None
        self._ring.split(model, config)

    def share(self, messages: list[ToEngine]) -> list[ToEngine]:
        messages = [self._limits(m) if isinstance(m, CacheLimits) else m for m in messages]
        self._tell(Messages(messages))
        return messages

    def _limits(self, limits: CacheLimits) -> CacheLimits:
        """Of each rank; never more than there was room for at first."""
        each = limits.hot_bytes // len(self._here)
        return CacheLimits(hot_bytes=min(each, self._load.hot_bytes), cold_bytes=0)

    def agree(self, value: float) -> float:
        self._tell(Decision(float(value)))
        return value

    def first(self, tokens: mx.array) -> mx.array:
        assert self._ring is not None
        return self._ring.first(tokens)

    def alike(self, words: list[str]) -> bool:
        assert self._ring is not None
        return self._ring.alike(words)

    def ready(self, ready: Ready) -> Ready:
        others = self._hear(Loaded)
        here = [loaded for rank, loaded in others.items() if rank in self._here]
        pids = [self._others[rank - 1].pid for rank in self._here if rank]
        return msgspec.structs.replace(
            ready,
            memory_bytes=ready.memory_bytes + sum(loaded.memory_bytes for loaded in here),
            kv_bytes_per_token=ready.kv_bytes_per_token * (1 + len(here)),
            pids=(os.getpid(), *pids),
        )

    def sum(self, stats: Stats) -> Stats:
        others = [self._stats[rank] for rank in self._here if rank in self._stats]
        cache = stats.cache
        if cache is not None:  # the others keep as much
            cache = msgspec.structs.replace(
                cache,
                hot_bytes=cache.hot_bytes * len(self._here),
                hot_limit_bytes=cache.hot_limit_bytes * len(self._here),
            )
        return msgspec.structs.replace(
            stats,
            memory_bytes=stats.memory_bytes + sum(s.memory_bytes for s in others),
            peak_memory_bytes=stats.peak_memory_bytes + sum(s.peak_memory_bytes for s in others),
            kv_bytes=stats.kv_bytes + sum(s.kv_bytes for s in others),
            cache=cache,
        )

    def stop(self) -> None:
        for process in self._others:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORDS_S)
            process.kill()

    # ----

    def _tell(self, message: FromLeader) -> None:
        if isinstance(message, Messages) and any(isinstance(m, Stop) for m in message.messages):
            self._stopping = True
        frame = encode(message)
        for process in self._others:
            assert process.stdin is not None
            try:
                process.stdin.write(frame)
                process.stdin.flush()
            except OSError:
                if not self._stopping:
                    time.sleep(_LAST_WORDS_S)  # the reader knows more and ends this process
                    os._exit(1)

    def _hear(self, kind: type[Any]) -> dict[int, Any]:
        """One message of each other rank."""
        heard: dict[int, Any] = {}
        while len(heard) < len(self._others):
            rank, message = self._said.get()
            if isinstance(message, kind):
                heard[rank] = message
        return heard

    def _read(self, rank: int, process: subprocess.Popen[bytes]) -> None:
        """Until the rank ends, which is the end of all of them."""
        assert process.stdout is not None
        decoder: Decoder[FromFollower] = Decoder(FromFollower)
        why = ""
        try:
            while data := os.read(process.stdout.fileno(), _CHUNK_BYTES):
                for message in decoder.feed(data):
                    self._on_message(rank, message)
        except ChannelError as error:
            why = f"sent what is not our protocol: {error}"
        if self._stopping:
            return
        print(f"rank {rank} of the group {why or _end_of(process)}", file=sys.stderr, flush=True)
        os._exit(1)

    def _on_message(self, rank: int, message: FromFollower) -> None:
        match message:
            case Stats():
                self._stats[rank] = message
            case LoadFailed():
                time.sleep(_LAST_WORDS_S)  # what fails here, too, is said without a rank
                self._fail(f"rank {rank} on {self._group.hosts[rank]}: {message.message}")
            case _:
                self._said.put((rank, message))


def of_each(load: Load, here: int) -> Load:
    """What each rank may use where so many share a machine: prefixes in memory, of which what runs
    lends a part, and none on disk, as reads take another time in every rank."""
    hot_bytes, kv_bytes = load.hot_bytes // here, load.kv_limit_bytes
    if kv_bytes is not None:
        hot_bytes = min(hot_bytes, int(kv_bytes * HOT_SHARE))
        kv_bytes = max(1, kv_bytes - hot_bytes)
    return msgspec.structs.replace(
        load, hot_bytes=hot_bytes, kv_limit_bytes=kv_bytes, cache_directory=None, cold_bytes=0
    )


def _end_of(process: subprocess.Popen[bytes]) -> str:
    """How a process ended whose stdout did; continues "rank 1 of the group …"."""
    try:
        status = process.wait(_LAST_WORDS_S)
    except subprocess.TimeoutExpired:
        return "closed its pipe"
    if status >= 0:
        return f"ended by itself with status {status}"
    return f"was killed by {signal.Signals(-status).name}"
