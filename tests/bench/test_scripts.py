"""Every benchmark runs at its smallest size; what it prints and writes is well formed.

Nothing here looks at a time: a busy machine must not fail a test.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
SCRIPTS = (
    "decode",
    "ragged",
    "adapters",
    "churn",
    "prefix",
    "sampling",
    "fairness",
    "front",
    "serving",
    "oneshot",
    "against",
    "idle",
    "cold",
    "agents",
    "dialects",
    "soak",
    "dashboard",
)


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCH / f"{script}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_prints_one_table_and_writes_the_same_figures(
    script: str, tmp_path: Path, tiny_model: Callable[..., Path]
):
    if script == "dashboard" and shutil.which("chromium") is None:
        pytest.skip("needs chromium (Debian: apt install chromium)")
    arguments = ["--quick", "--json", str(tmp_path / "figures.json")]
    if script == "idle":  # the others take a quick model of their own; idle would take the demo
        arguments += ["--model", str(tiny_model("qwen3"))]
    printed = run(script, *arguments)
    written = json.loads((tmp_path / "figures.json").read_text())

    table = [line for line in printed.splitlines() if line.startswith("|")]
    head = [cell.strip() for cell in table[0].strip("|").split("|")]
    assert head == written["columns"]
    assert "÷" in head[-1]
    assert len(table) == 2 + len(written["rows"]), "one table: a head, a rule, the rows"

    assert written["rows"]
    ratios = [row[head[-1]] for row in written["rows"] if row[head[-1]] is not None]
    assert ratios
    assert all(math.isfinite(ratio) and ratio >= 0 for ratio in ratios)
    assert all(list(row) == head for row in written["rows"])
    assert all(row.get("errors", 0) == 0 for row in written["rows"]), written["notes"]
    assert written["quick"] is True
    assert written["blas"] in printed


@pytest.mark.slow
def test_an_agents_session_computes_only_what_each_turn_adds(tmp_path: Path):
    figures = tmp_path / "figures.json"
    run("prefix", "--quick", "--only", "session", "--json", str(figures))
    notes = [note for note in json.loads(figures.read_text())["notes"] if "session" in note]
    shares = [float(note.partition("÷ all ")[2].split()[0]) for note in notes]
    # Of prompts of 350 to 500 tokens a turn's own are about 30.
    assert [note.partition(":")[0] for note in notes] == ["full attention", "hybrid"]
    assert all(0.92 < share < 0.95 for share in shares)


@pytest.mark.slow
def test_sessions_of_captured_requests_compute_only_what_each_turn_adds(tmp_path: Path):
    figures, captures = tmp_path / "figures.json", BENCH.parent / "tests" / "golden" / "agents"
    options = ("--captures", str(captures), "--json", str(figures))
    run("prefix", "full attention", "hybrid", "--quick", *options)
    notes = [note for note in json.loads(figures.read_text())["notes"] if "session" in note]
    assert [note.partition(" of 6 turns")[0].split()[-1] for note in notes] == [
        *["claude-code"] * 2,
        *["codex"] * 2,
        *["opencode"] * 2,
    ]
    # Of prompts of 700 to 1,250 tokens a turn's own are about 70.
    shares = [float(note.partition("÷ all ")[2].split()[0]) for note in notes]
    assert all(0.9 < share < 0.95 for share in shares)


@pytest.mark.slow
def test_the_second_turn_is_asked_of_two_servers(tmp_path: Path):
    figures = tmp_path / "figures.json"
    run("prefix", "--quick", "--only", "servers", "--json", str(figures))
    rows = json.loads(figures.read_text())["rows"]
    assert [row["restored"] for row in rows] == ["fastmlx", "mlx_lm.server"]
    assert all(0 < row["tokens kept"] < row["of"] for row in rows)


# One process for all: most of each would be its imports.
HELPS = """\
import contextlib, io, json, runpy, sys
said = {}
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    said[script] = printed.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", HELPS, *(str(BENCH / f"{script}.py") for script in SCRIPTS)],
        env=os.environ | {"PYTHONPATH": str(BENCH)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_help_says_what_the_script_asks(script: str, helps: dict[str, str]):
    file = BENCH / f"{script}.py"
    question = file.read_text().split('"""')[1].splitlines()[0]
    said = helps[str(file)]
    assert question in said
    assert "--json" in said
    assert "--quick" in said


def test_every_script_is_listed_here():
    runnable = {path.stem for path in BENCH.glob("*.py") if "\ndef main()" in path.read_text()}
    assert runnable - {"architectures"} == set(SCRIPTS)  # which has a test file of its own
