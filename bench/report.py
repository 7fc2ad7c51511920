"""One table on the screen, the same figures as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

Cell = str | float | int | None


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    parser.add_argument("--quick", action="store_true", help="smallest size: seconds, no meaning")
    return parser


@dataclass
class Report:
    """Rows of figures under a question. The last column is the ratio that the script is about."""

    question: str
    columns: Sequence[str]
    blas: str
    quick: bool
    rows: list[Sequence[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # printed below the table

    def add(self, *cells: Cell) -> None:
        assert len(cells) == len(self.columns), f"{len(cells)} cells, {len(self.columns)} columns"
        self.rows.append(cells)

    def text(self) -> str:
        """The table in Markdown."""
        lines = [list(self.columns), *([_shown(cell) for cell in row] for row in self.rows)]
        for i in range(len(self.columns)):
            width = max(len(line[i]) for line in lines)
            words = any(isinstance(row[i], str) for row in self.rows)
            for line in lines:
                line[i] = line[i].ljust(width) if words else line[i].rjust(width)
        rendered = ["| " + " | ".join(line) + " |" for line in lines]
        rendered.insert(1, "|" + "|".join("-" * (len(cell) + 2) for cell in lines[0]) + "|")
        return "\n".join([self.question, "", *rendered, "", *self.notes, self._conditions()])

    def _conditions(self) -> str:
        quick = "; --quick: the figures mean nothing" if self.quick else ""
        return f"BLAS: {self.blas}; {_versions()}; {_machine()}{quick}"

    def finish(self, json_file: Path | None) -> None:
        """Prints the table and writes the JSON file if one is wanted."""
        print(self.text(), flush=True)
        self.write(json_file)

    def write(self, json_file: Path | None) -> None:
        """Writes the JSON file if one is wanted."""
        if json_file is not None:
            content = {
                "question": self.question,
                "columns": list(self.columns),
                "rows": [dict(zip(self.columns, row, strict=True)) for row in self.rows],
                "notes": self.notes,
                "blas": self.blas,
                "versions": _versions(),
                "machine": _machine(),
                "quick": self.quick,
            }
            json_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of ours ÷ theirs over rounds that ran next to each other, so that what disturbs
    the machine for a while disturbs both sides of a quotient."""
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))


def percentile(values: Iterable[float], percent: float) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    rank = round(percent / 100 * (len(ordered) - 1))
    return ordered[rank]


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:.3g}" if cell else "0"
    return str(cell)


def _versions() -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("fastmlx", "mlx", "mlx-lm"))


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
