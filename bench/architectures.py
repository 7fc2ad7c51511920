"""What can the engine do with each architecture that mlx-lm ships?

For every model file of the installed mlx-lm a tiny model with random weights is built, loaded and
run by the engine (bench/probe.py), each in a worker process that is replaced when it dies or does
not answer in time. Exact means: greedy answers to six prompts of 1 to 150 tokens, which join at
different steps and all at once, are those of mlx-lm's `generate_step` for each prompt alone.
"""

from __future__ import annotations

import blas

if __name__ == "__main__":
    BLAS = blas.choose()

import dataclasses
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from finding import Finding
from report import Report, arguments

# One of each kind: plain, sliding windows, shared keys, sinks, recurrent, hybrid, latent
# attention, a state that grows, one whose first token is special, group by group, row by row.
QUICK = (
    "afm7",
    "deepseek_v3",
    "gemma3_text",
    "gemma4_text",
    "gpt_oss",
    "llama",
    "longcat_flash_ngram",
    "mamba",
    "plamo",
    "qwen3_5",
    "recurrent_gemma",
)
LIMIT_S = 120.0  # for one file


def shipped() -> list[str]:
    """The modules in the installed mlx_lm.models, without importing them."""
    package = importlib.util.find_spec("mlx_lm")
    assert package is not None
    assert package.submodule_search_locations
    models = Path(package.submodule_search_locations[0]) / "models"
    return sorted(path.stem for path in models.glob("*.py") if path.stem != "__init__")


def find(files: Iterable[str], limit_s: float) -> Iterator[Finding]:
    """What can be found out about each file, in their order. A file that ends its process or takes
    longer than `limit_s` is reported as such, and a fresh worker goes on."""
    worker: subprocess.Popen[str] | None = None
    try:
        for file in files:
            if worker is None:
                worker = subprocess.Popen(
                    [sys.executable, __file__, "--worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            finding = _ask(worker, file, limit_s)
            if worker.poll() is not None:
                worker = None
            yield finding
    finally:
        if worker is not None:
            worker.kill()
            worker.communicate()


def _ask(worker: subprocess.Popen[str], file: str, limit_s: float) -> Finding:
    """The worker's answer; where there is none, the worker has ended."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    late = threading.Event()

    def give_up() -> None:
        late.set()
        worker.kill()

    timer = threading.Timer(limit_s, give_up)
    timer.start()
    try:
        worker.stdin.write(file + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except BrokenPipeError:
        line = ""
    finally:
        timer.cancel()
        timer.join()
    if line and not late.is_set():
        return Finding(**json.loads(line))
    worker.communicate()
    why = f"no answer within {limit_s:g} s" if late.is_set() else "its process died"
    return Finding(file, reason=f"{why} (status {worker.returncode})")


def work() -> None:
    """The worker: a name a line on stdin, a Finding as JSON a line on stdout."""
    from probe import probe

    answers = sys.stdout
    sys.stdout = sys.stderr  # model files may print
    for line in sys.stdin:
        print(json.dumps(dataclasses.asdict(probe(line.strip()))), file=answers, flush=True)


# ---- tables


def row_of(finding: Finding) -> list[str]:
    """A row of the full table."""

    def said(value: bool | None) -> str:
        return {True: "yes", False: "no", None: "–"}[value]

    return [
        finding.file,
        said(finding.loads),
        finding.batches,
        said(finding.mixes),
        said(finding.packs),
        finding.prefix,
        said(finding.exact),
        finding.reason,
    ]


COLUMNS = (
    "file",
    "loads",
    "batches",
    "prefill beside decode",
    "packs prompts",
    "prefix",
    "exact",
    "note",
)

OUTCOMES: tuple[tuple[str, Callable[[Finding], bool]], ...] = (
    (
        "all rows in one forward, a chunk of a prompt beside them, prompts packed",
        lambda f: f.batches == "one forward" and f.mixes and f.packs,
    ),
    (
        "all rows in one forward, prompts in forwards of their own (recurrent state)",
        lambda f: f.batches == "one forward" and not (f.mixes and f.packs),
    ),
    (
        "rows of similar length in one forward, group by group",
        lambda f: f.batches == "group by group",
    ),
    ("row by row", lambda f: f.batches == "row by row"),
)


def outcomes(findings: list[Finding]) -> str:
    """The findings as a short Markdown table: names by outcome. Then what stands out."""
    lines = ["| how it runs | files | exact | prefix | names |", "|---|---|---|---|---|"]
    models = [finding for finding in findings if finding.model]
    for title, belongs in OUTCOMES:
        here = [finding for finding in models if belongs(finding)]
        if not here:
            continue
        exact = sum(finding.exact is True for finding in here)
        prefixes = [
            f"{way} {count}"
            for way in ("any token", "checkpoint", "no")
            if (count := sum(finding.prefix == way for finding in here))
        ]
        lines.append(
            f"| {title} | {len(here)} | {exact} | {', '.join(prefixes)} | {_names(here)} |"
        )
    rest = [finding for finding in models if finding.batches == "–"]
    if rest:
        reasons = "; ".join(f"{finding.file}: {finding.reason}" for finding in rest)
        lines.append(f"| not run here | {len(rest)} | – | – | {reasons} |")
    parts = [finding for finding in models if finding.text_part]
    without = [finding for finding in findings if not finding.model]
    lines.append("")
    if parts:
        lines.append(f"Only the text part of multimodal models: {_names(parts)}.")
    if without:
        lines.append(f"Files without a model: {_names(without)}.")
    return "\n".join(lines)


def _names(findings: list[Finding]) -> str:
    return ", ".join(finding.file for finding in findings)


def counts(findings: list[Finding]) -> str:
    models = [finding for finding in findings if finding.model]
    ways = ("one forward", "group by group", "row by row")
    counted = ", ".join(f"{sum(f.batches == way for f in models)} {way}" for way in ways)
    exact = sum(f.exact is True for f in models)
    return f"{len(models)} files with a model: {counted}; {exact} exact"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("files", nargs="*", help="of mlx_lm/models; all of them by default")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds for one file")
    parser.add_argument("--markdown", action="store_true", help="print the table of the README")
    parser.add_argument("--worker", action="store_true", help="answer names on stdin")
    options = parser.parse_args()
    if options.worker:
        work()
        return
    files = options.files or (QUICK if options.quick else shipped())
    report = Report((__doc__ or "").splitlines()[0], COLUMNS, BLAS, options.quick)
    findings: list[Finding] = []
    for finding in find(files, options.limit):
        findings.append(finding)
        print(f"{len(findings)}/{len(files)} {finding.file}", file=sys.stderr, flush=True)
        if finding.model:
            report.add(*row_of(finding))
    report.notes.append(counts(findings))
    if options.markdown:
        print(outcomes(findings))
        report.write(options.json)
    else:
        report.finish(options.json)
    if any(finding.batches != "–" and finding.exact is not True for finding in findings):
        sys.exit("the engine answers wrongly where the table says so")


if __name__ == "__main__":
    main()
