"""Show a model's card: what it is, what memory it takes, what it can do; without loading it.

PATH is a folder, an id on the Hub that was fetched before, builtin:demo, or the name of a model in
config.yaml, whose entry then counts. No daemon is needed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...config.paths import Home
from .arguments import add_json
from .failure import Failure
from .terminal import harmless, size, table

if TYPE_CHECKING:
    from ...config.settings import ModelSpec, Settings
    from ..tasks.card import Card


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a folder, a Hub id or a declared name")
    parser.add_argument("--revision", help="branch, tag or commit of a Hub id")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from ...config.errors import ConfigError
    from ...config.load import load_file
    from ...config.settings import Settings

    try:
        settings = load_file(Home.find(args.home).config)
    except ConfigError:  # none yet, or a broken one: a folder can be looked at all the same
        settings = Settings()
    found = _card(_spec(args.path, args.revision, settings), settings)
    if args.json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print(harmless(shown(found)))
    return 0


def _spec(path: str, revision: str | None, settings: Settings) -> ModelSpec:
    from ...config.paths import looks_like_folder
    from ...config.settings import ModelSpec

    declared = settings.find(path)
    if declared is not None:
        return declared.spec
    if not path.strip():
        raise Failure("PATH is empty")
    if looks_like_folder(path) or Path(path).is_dir():
        path = str(Path(path).expanduser().absolute())
    return ModelSpec(path=path, revision=revision)


def _card(spec: ModelSpec, settings: Settings) -> Card:
    from ..protocol.errors import ModelFailed
    from ..reconcile import memory_limit_bytes
    from ..tasks.card import card

    try:
        return card(spec, memory_limit_bytes(settings))
    except ModelFailed as error:
        raise Failure(error.message) from error


def shown(card: Card) -> str:
    """For people."""
    count = card.parameters
    facts = [
        ("kind", card.kind),
        ("architecture", card.architecture),
        ("parameters", f"{count / 1e9:.2f} G" if count >= 10**8 else f"{count:,}"),
        ("quantisation", card.quantization or "none"),
        ("weights", size(card.weights_bytes)),
        ("layers", ", ".join(f"{n} {what}" for what, n in card.kv_layers.items())),
        ("context", f"{card.context:,} tokens" if card.context else "-"),
        ("chat template", card.template_file or ", ".join(card.chat_templates) or "none"),
        ("tool parser", card.tool_parser or "none"),
        ("reasoning", card.reasoning_parser or "none"),
        *((f"adapter {each.name or ''}", each.problem or each.path) for each in card.adapters),
        ("folder", card.folder),
        (
            "fits",
            f"{'yes' if card.fits else 'no'}: loading takes {size(card.needs_bytes)} of "
            f"{size(card.limit_bytes or 0)}, with room for {card.room_tokens:,} tokens in it",
        ),
    ]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name.ljust(width)}  {value}" for name, value in facts]
    rows = [("TOKENS", "KV CACHE", "TOGETHER", "FITS")]
    rows += [
        (f"{n.tokens:,}", size(n.kv_bytes), size(n.total_bytes), "yes" if n.fits else "no")
        for n in card.memory
    ]
    problems = [f"problem: {sentence}" for sentence in card.problems]
    return "\n".join([*lines, "", table(rows), *problems])
