"""Runs of `fastmlx bench`, kept for comparison. The functions take an open connection;
`Store.read` and `Store.change` run them."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select

from .tables import bench_runs


class Cell(msgspec.Struct, frozen=True):
    """One combination of prompt length and batch size; the medians of its rounds."""

    prompt_tokens: int  # of each prompt
    batch: int  # requests at once
    output_tokens: int  # of each answer
    prefill_tokens_per_s: float  # of all together, until the last of them has its first token
    decode_tokens_per_s: float  # of all together, while all of them are decoded
    ttft_ms: float  # of the last of them


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run on one model."""

    id: int = 0  # given when it is kept
    at_ms: int
    model: str
    version: str  # of fastmlx and of what computes
    machine: str
    cells: list[Cell]


def keep(connection: Connection, run: Run) -> Run:
    """The same with its id."""
    values = msgspec.structs.asdict(run) | {"cells": msgspec.json.encode(run.cells)}
    del values["id"]
    made = connection.execute(insert(bench_runs).values(**values)).inserted_primary_key
    assert made is not None
    return msgspec.structs.replace(run, id=made[0])


def runs(connection: Connection, limit: int = 100) -> list[Run]:
    """The newest first."""
    query = select(bench_runs).order_by(bench_runs.c.id.desc()).limit(limit)
    return [_run(row) for row in connection.execute(query)]


def run(connection: Connection, number: int) -> Run | None:
    found = connection.execute(select(bench_runs).where(bench_runs.c.id == number)).one_or_none()
    return None if found is None else _run(found)


def forget(connection: Connection, number: int) -> None:
    """A number that is not there is fine."""
    connection.execute(delete(bench_runs).where(bench_runs.c.id == number))


def _run(row: Row) -> Run:
    values: dict[str, Any] = dict(row._mapping)
    values["cells"] = msgspec.json.decode(values["cells"], type=list[Cell])
    return Run(**values)
