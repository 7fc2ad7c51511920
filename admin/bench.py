"""Runs of a benchmark, one alone or two beside each other, as plots and a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..daemon.store.bench_runs import Cell, Run
from .model_row import colour
from .numbers import count
from .plot import Line, Plot, plot

PLOTTED = (
    ("Prefill, tokens per second", "prefill_tokens_per_s"),
    ("Decode, tokens per second", "decode_tokens_per_s"),
    ("First token, milliseconds", "ttft_ms"),
)
COLOURS = (colour(0), colour(1))
BARS = 3  # a combination's: the first run's, the second's, a gap


class Row(NamedTuple):
    """One combination that a run has; with two runs, that both have."""

    prompt_tokens: int
    batch: int
    first: Cell
    second: Cell | None

    def ratio(self, field: str) -> float | None:
        """Second ÷ first."""
        if self.second is None:
            return None
        return getattr(self.second, field) / max(getattr(self.first, field), 1e-9)


class Comparison(NamedTuple):
    plots: list[Plot]
    rows: list[Row]
    missing: int  # combinations that only one of the two has


def compare(first: Run, second: Run | None) -> Comparison:
    cells = {_key(cell): cell for cell in first.cells}
    others = {_key(cell): cell for cell in second.cells} if second is not None else {}
    rows = [
        Row(cell.prompt_tokens, cell.batch, cell, others.get(key))
        for key, cell in cells.items()
        if second is None or key in others
    ]
    missing = len(cells.keys() ^ others.keys()) if second is not None else 0
    return Comparison(_plots(rows, two=second is not None) if rows else [], rows, missing)


def _key(cell: Cell) -> tuple[int, int]:
    return cell.prompt_tokens, cell.batch


def _plots(rows: Sequence[Row], *, two: bool) -> list[Plot]:
    names = ("first run", "second run") if two else ("this run",)
    labels: list[str] = []
    x_labels: list[str] = []
    every = -(-len(rows) // 5)  # labels that have room
    for i, row in enumerate(rows):
        text = f"{row.batch} × {row.prompt_tokens:,}"
        labels += [text] * BARS
        x_labels += [""] * BARS
        # Under the middle of its bars; the axis' ends have no room.
        if i % every == 0:
            x_labels[BARS * i + 1] = f"{row.batch}×{count(row.prompt_tokens)}"
    drawn = []
    for title, field in PLOTTED:
        lines = [Line(name, COLOURS[i], [0] * len(labels)) for i, name in enumerate(names)]
        values: list[list[int]] = [[0] * len(labels) for _ in lines]
        for i, row in enumerate(rows):
            for which, cell in enumerate((row.first, row.second)):
                if cell is not None and which < len(values):
                    values[which][BARS * i + which] = round(getattr(cell, field))
        lines = [line._replace(values=each) for line, each in zip(lines, values, strict=True)]
        drawn.append(plot(title, lines, labels, x_labels, count))
    return drawn
