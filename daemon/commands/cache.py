"""Show what the prefix cache holds, or empty it: `fastmlx cache stats`, `fastmlx cache clear`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .arguments import add_json
from .client import daemon_of
from .terminal import harmless, size, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="what", metavar="stats | clear", required=True)
    stats = verbs.add_parser("stats", help="what it holds and how often it was of use")
    add_json(stats)
    clear = verbs.add_parser("clear", help="forget what no running request uses")
    clear.add_argument("name", metavar="NAME", nargs="?", help="of this model alone")
    tiers = clear.add_mutually_exclusive_group()
    tiers.add_argument("--hot", action="store_true", help="only in memory")
    tiers.add_argument("--cold", action="store_true", help="only on disk")


def run(args: argparse.Namespace) -> int:
    daemon = daemon_of(args)
    if args.what == "clear":
        asked = {"model": args.name, "hot": not args.cold, "cold": not args.hot}
        deleted = daemon.post("/api/cache/clear", asked)["deleted_blocks"]
        whose = args.name or "all models"
        on_disk = "" if args.hot else f"; {deleted} blocks were deleted from disk"
        print(harmless(f"cleared the prefix cache of {whose}{on_disk}"))
        return 0
    books = daemon.get("/api/cache")
    print(json.dumps(books, indent=2) if args.json else harmless(_shown(books)))
    return 0


def _shown(books: dict[str, Any]) -> str:
    budget = books["write_budget_bytes"]
    of_budget = "" if budget is None else f" of {size(budget)}"
    lines = [
        f"in memory  {size(books['hot_bytes'])} of {size(books['hot_limit_bytes'])}",
        f"on disk    {size(books['cold_bytes'])} of {size(books['cold_limit_bytes'])}"
        f" in {books['directory']}",
        f"written    {size(books['written_today_bytes'])}{of_budget} today",
    ]
    if books["problem"]:
        lines.append(f"problem    {books['problem']}")
    rows = [("MODEL", "MEMORY", "DISK", "BLOCKS", "FROM CACHE", "MISSES")]
    rows += [
        (
            model["name"],
            size(model["hot_bytes"]) if model["loaded"] else "-",
            size(model["cold_bytes"]),
            str(model["cold_blocks"]),
            _share(model),
            ", ".join(f"{count} {reason}" for reason, count in model["misses"].items()) or "-",
        )
        for model in books["models"]
    ]
    return "\n".join([*lines, "", table(rows)])


def _share(model: dict[str, Any]) -> str:
    """Of the prompt tokens since it was loaded."""
    if not model["asked_tokens"]:
        return "-"
    return f"{sum(model['hit_tokens'].values()) / model['asked_tokens']:.0%} of tokens"
