"""Measure how fast a model computes prompts and answers, through the running daemon.

Each prompt length is tried with each batch size: random prompts, computed at once. The daemon keeps
the figures; the dashboard's page Benchmarks shows and compares them. Ctrl-C cancels."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from .arguments import add_json
from .client import daemon_of
from .failure import Failure
from .terminal import harmless, table

POLL_S = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a declared model, or its alias")
    parser.add_argument(
        "--prompts",
        type=_numbers,
        default=[128, 1024, 4096],
        metavar="N,N…",
        help="tokens of a prompt (128,1024,4096)",
    )
    parser.add_argument(
        "--batches",
        type=_numbers,
        default=[1, 4, 16],
        metavar="N,N…",
        help="requests at once (1,4,16)",
    )
    parser.add_argument(
        "--tokens", type=int, default=64, metavar="N", help="tokens of an answer (64)"
    )
    parser.add_argument(
        "--rounds", type=int, default=1, metavar="N", help="of which the median counts (1)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    daemon = daemon_of(args)
    plan = {
        "model": args.model,
        "prompt_tokens": args.prompts,
        "batches": args.batches,
        "output_tokens": args.tokens,
        "rounds": args.rounds,
    }
    progress = daemon.post("/api/bench", plan)
    shows = sys.stderr.isatty() and not args.json
    try:
        while progress["state"] == "running":
            if shows:
                said = f"{progress['done']}/{progress['total']} {progress['doing']}"
                print(f"\r\x1b[K{harmless(said)}", end="", file=sys.stderr, flush=True)
            time.sleep(POLL_S)
            progress = daemon.get("/api/bench")["current"]
            if progress is None:
                raise Failure("the daemon was restarted, and knows nothing of the benchmark")
    except KeyboardInterrupt:
        daemon.post("/api/bench/cancel")
        raise
    finally:
        if shows:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if progress["state"] != "done":
        raise Failure(progress["error"] or "the benchmark was cancelled")
    found = progress["run"]
    print(json.dumps(found, indent=2) if args.json else harmless(for_people(found)))
    return 0


def for_people(found: dict[str, Any]) -> str:
    rows = [("PROMPT", "BATCH", "PREFILL", "DECODE", "EACH", "FIRST TOKEN")]
    rows += [
        (
            f"{cell['prompt_tokens']:,}",
            str(cell["batch"]),
            f"{cell['prefill_tokens_per_s']:,.0f} tokens/s",
            f"{cell['decode_tokens_per_s']:,.1f} tokens/s",
            f"{cell['decode_tokens_per_s'] / cell['batch']:,.1f}",
            f"{cell['ttft_ms']:,.0f} ms",
        )
        for cell in found["cells"]
    ]
    head = f"{found['model']} on {found['machine']}\n{found['version']}"
    return f"{head}\n\n{table(rows)}"


def _numbers(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers") from None
