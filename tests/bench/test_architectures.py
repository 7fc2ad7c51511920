"""What the script says of mlx-lm's model files: tables that hold together, and exact answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCH / "architectures.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_kind_of_architecture_is_exact(tmp_path: Path) -> None:
    printed = run("--quick", "--json", str(tmp_path / "found.json"))
    written = json.loads((tmp_path / "found.json").read_text())

    table = [line for line in printed.splitlines() if line.startswith("|")]
    head = [cell.strip() for cell in table[0].strip("|").split("|")]
    assert head == written["columns"]
    assert len(table) == 2 + len(written["rows"])
    assert len({line.count("|") for line in table}) == 1

    rows = {row["file"]: row for row in written["rows"]}
    assert len(rows) >= 8
    assert {row["loads"] for row in rows.values()} == {"yes"}
    assert {name: row["note"] for name, row in rows.items() if row["exact"] != "yes"} == {}
    ways = {row["batches"] for row in rows.values()}
    assert ways == {"one forward", "group by group", "row by row"}


@pytest.mark.slow
def test_the_table_of_the_readme_counts_names_and_keeps_what_did_not_run() -> None:
    printed = run("--markdown", "llama", "cache", "no_such_file")
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert lines[2].endswith("| llama |")
    assert "no_such_file: ModuleNotFoundError" in lines[3]
    assert "Files without a model: cache." in printed


def test_a_file_that_does_not_answer_in_time_does_not_end_the_run(tmp_path: Path) -> None:
    run("--limit", "0", "--json", str(tmp_path / "found.json"), "llama", "qwen3")
    rows = json.loads((tmp_path / "found.json").read_text())["rows"]
    assert [row["file"] for row in rows] == ["llama", "qwen3"]
    assert all("no answer within 0 s" in row["note"] for row in rows)
