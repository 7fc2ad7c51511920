"""Say whether a configuration is right, without starting anything.

Exit status 1 and the line, column and key of the first error when it is not. Models whose files
are not on this machine are warnings: they can still be fetched."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...config.errors import ConfigError
from ...config.paths import Home
from .failure import Failure
from .terminal import harmless, table

if TYPE_CHECKING:
    from ...config.settings import ModelSpec, Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        type=Path,
        help="instead of the config.yaml that the daemon uses",
    )


def run(args: argparse.Namespace) -> int:
    from ...config.load import load_file

    path = args.file or Home.find(args.home).config
    try:
        settings = load_file(path)
    except ConfigError as error:
        # The error names the file alone; with its folder, terminals make the place a link.
        place = "" if path.parent == Path() else f"{path.parent}{os.sep}"
        raise Failure(f"{place}{error}") from None
    print(f"{path}: good")
    print(harmless(declared(settings)))
    for warning in warnings(settings):
        print(f"warning: {harmless(warning)}", file=sys.stderr)
    return 0


def declared(settings: Settings) -> str:
    """What the file declares, for people."""
    server = settings.server
    lines = [f"would serve at http://{server.host}:{server.port}"]
    if not settings.models:
        return "\n".join([*lines, "no models are declared"])
    rows = [("MODEL", "PATH", "ALIASES")]
    rows += [
        (name, spec.path, ", ".join(spec.aliases) or "-") for name, spec in settings.models.items()
    ]
    return "\n".join([*lines, table(rows)])


def warnings(settings: Settings) -> Iterator[str]:
    """What is declared and not there: one sentence each, beginning with the key."""
    from ..hub.catalog import resolve
    from ..protocol.errors import ModelFailed

    for name, spec in settings.models.items():
        try:
            resolve(spec.path, spec.revision)
        except ModelFailed as error:
            yield f"models.{name}.path: {error.message}"
        yield from _missing_files(name, spec)


def _missing_files(name: str, spec: ModelSpec) -> Iterator[str]:
    if spec.chat_template is not None and not spec.chat_template.is_file():
        yield f"models.{name}.chat_template: there is no file {spec.chat_template}"
    for index, adapter in enumerate(spec.adapters):
        if Path(adapter.path).is_absolute() and not Path(adapter.path).is_dir():
            yield f"models.{name}.adapters[{index}]: there is no folder {adapter.path}"
