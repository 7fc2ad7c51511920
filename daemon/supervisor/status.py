"""What the supervisor says about its models: plain data for pages, `status --json` and metrics."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class State(StrEnum):
    """Where an engine process is in its life.

    stopped → starting → ready → stopping → stopped; a death leads back to starting, a model that
    cannot be started ends in failed.
    """

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


class LoadProgress(msgspec.Struct, frozen=True):
    """How far a start has come; `fraction` (0 to 1) is of this stage."""

    stage: str
    fraction: float


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One declared model, or one that was withdrawn and still finishes its requests."""

    name: str
    aliases: tuple[str, ...]
    adapters: tuple[str, ...] = ()  # served as NAME:ADAPTER
    state: State
    pid: int | None  # of the engine process
    pids: tuple[int, ...] = ()  # of all its processes on this machine, `pid` first
    memory_bytes: int  # footprint of the engine process; 0 when there is none
    active_bytes: int = 0  # of arrays: weights, caches and what a step needs
    peak_bytes: int = 0  # the most of that since the engine started
    requests_running: int
    requests_waiting: int  # for the model to load, or for a free row of the batch
    idle_s: float | None  # since the last request ended; None while busy or not loaded
    idle_timeout_s: float  # inf: never unloaded for idleness
    preemptions: int = 0  # sequences that had to wait again for lack of memory, in this life
    restarts: int  # after deaths, since the model was declared
    error: str | None  # why it failed, died last, or cannot be started; None when all is well
    loading: LoadProgress | None  # while starting
    pinned: bool
    context: int | None  # tokens a sequence may hold; None until known
    weights_bytes: int | None  # on disk; None until known
    architecture: str | None  # config.json's model_type
    output_tokens: int  # since the model was declared; survives restarts
    tokens_per_s: float  # output, over the last few seconds
    max_concurrent: int
    max_waiting: int
    batches: bool | None = None  # False: its rows run one at a time; None until it is loaded
    notes: tuple[str, ...] = ()  # what a person should know of the loaded model
