"""Who may import whom: the table of the architecture, held by reading every import.

    6  daemon.__main__  daemon.cli  daemon.commands
    5  daemon.app
    4  daemon.reconcile  daemon.api  daemon.doctor  daemon.findable  daemon.following  admin
    3  daemon.tasks
    2  daemon.supervisor  daemon.mcp
    1  daemon.hub  daemon.store  daemon.text  daemon.auth  daemon.access  daemon.connection
       daemon.connections  daemon.exact_http  daemon.opening  launchd
       |  daemon.engine, daemon.demo
    0  config  migrations  daemon.protocol  daemon.cold  daemon.logs  daemon.idle  daemon.launch
       daemon.framing  daemon.limits  daemon.watching  daemon.registry

Imports inside functions count as well. Those under `if TYPE_CHECKING:` do not load anything, but
say what a module knows, so they must not lead upwards either.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("admin", "config", "daemon", "launchd", "migrations")

FLOORS = {
    "daemon.__main__": 6,
    "daemon.cli": 6,
    "daemon.commands": 6,
    "daemon.app": 5,
    "daemon.doctor": 4,
    "daemon.reconcile": 4,
    "daemon.findable": 4,
    "daemon.following": 4,
    "daemon.api": 4,
    "admin": 4,
    "daemon.tasks": 3,
    "daemon.supervisor": 2,
    "daemon.mcp": 2,  # beside the supervisor, whose backoff it shares
    "daemon.hub": 1,
    "daemon.store": 1,
    "daemon.text": 1,
    "daemon.auth": 1,
    "daemon.access": 1,
    "daemon.connection": 1,
    "daemon.connections": 1,
    "daemon.exact_http": 1,
    "daemon.opening": 1,
    "launchd": 1,
    "daemon.engine": 1,
    "daemon.demo": 1,
    "config": 0,
    "migrations": 0,
    "daemon.protocol": 0,
    "daemon.cold": 0,
    "daemon.launch": 0,
    "daemon.logs": 0,
    "daemon.watching": 0,
    "daemon.idle": 0,
    "daemon.framing": 0,
    "daemon.limits": 0,
    "daemon.registry": 0,
}
# On one floor, and still not to know each other: (importer, imported).
STRANGERS = {
    ("admin", "daemon.api"),
    ("daemon.api", "admin"),
    ("daemon.reconcile", "daemon.api"),
    ("daemon.reconcile", "admin"),
    ("daemon.supervisor", "daemon.store"),
    ("daemon.tasks", "admin"),
}
# Only the engine's process, and the scripts that make the demo model, know these.
ENGINE_ONLY = {"mlx", "mlx_lm"}
ENGINE_ROOMS = {"daemon.engine", "daemon.demo"}
NOT_IN_THE_ENGINE = {"sanic", "sqlalchemy", "alembic", "jinja2", "prometheus_client", "watchfiles"}


class Import(NamedTuple):
    importer: str  # dotted module, without "fastmlx."
    imported: str  # the same for ours; "mlx.core" for others
    is_ours: bool
    place: str  # file:line
    only_for_types: bool


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    files = (file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py")))
    return {module_of(file): file for file in files}


def room_of(module: str) -> str:
    """The entry of FLOORS that a module belongs to; "" for the packages above them."""
    matches = [room for room in FLOORS if module == room or module.startswith(room + ".")]
    return max(matches, key=len, default="")


@cache
def imports() -> tuple[Import, ...]:
    known = modules()
    return tuple(each for module, file in known.items() for each in imports_of(module, file, known))


def imports_of(module: str, file: Path, known: dict[str, Path]) -> Iterator[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for name, is_ours in names_of(node, package, known):
            place = f"{file.relative_to(ROOT)}:{node.lineno}"
            yield Import(module, name, is_ours, place, id(node) in for_types)


def names_of(
    node: ast.Import | ast.ImportFrom, package: str, known: dict[str, Path]
) -> Iterator[tuple[str, bool]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name.removeprefix("fastmlx."), alias.name.startswith("fastmlx")
        return
    if node.level == 0:
        base = node.module or ""
        if base.split(".")[0] != "fastmlx":
            yield base, False
            return
        base = base.removeprefix("fastmlx").removeprefix(".")
    else:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:
        # `from .x import y`: y may be a module or a name in x.
        below = f"{base}.{alias.name}" if base else alias.name
        yield (below if below in known else base), True


def test_every_module_has_its_place_in_the_table():
    # daemon/__init__.py carries the version; a package without a floor may hold nothing else.
    homeless = [module for module in modules() if not room_of(module) and module != "daemon"]
    assert homeless == []


def test_the_reader_of_imports_sees_what_is_there():
    """Else a mistake in it would let everything pass."""
    seen = {(room_of(i.importer), room_of(i.imported)) for i in imports() if i.is_ours}
    assert ("daemon.app", "daemon.supervisor") in seen
    assert ("daemon.app", "admin") in seen
    assert ("daemon.commands", "launchd") in seen
    assert ("daemon.engine", "daemon.protocol") in seen
    assert len(imports()) > 300


@pytest.mark.parametrize("room", FLOORS)
def test_nobody_imports_upwards(room):
    wrong = [
        f"{i.place}: {i.importer} (floor {FLOORS[room]}) imports {i.imported} (floor {floor})"
        for i in imports()
        if i.is_ours and room_of(i.importer) == room
        if (floor := FLOORS.get(room_of(i.imported), 0)) > FLOORS[room]
    ]
    assert wrong == []


def test_strangers_do_not_know_each_other():
    wrong = [
        f"{i.place}: {i.importer} imports {i.imported}"
        for i in imports()
        if i.is_ours and (room_of(i.importer), room_of(i.imported)) in STRANGERS
    ]
    assert wrong == []


def test_the_engine_runs_alone():
    """It imports itself of ours and what both processes share, and nothing of the front's
    libraries; nobody of the front imports it: they are two processes."""
    shared = ("daemon.engine", "daemon.protocol", "daemon.cold", "daemon.registry")
    wrong = [
        f"{i.place}: {i.importer} imports {i.imported}"
        for i in imports()
        if (
            room_of(i.importer) == "daemon.engine"
            and i.is_ours
            and room_of(i.imported) not in shared
        )
        or (
            room_of(i.importer) == "daemon.engine" and i.imported.split(".")[0] in NOT_IN_THE_ENGINE
        )
        or (i.is_ours and room_of(i.imported) == "daemon.engine" != room_of(i.importer))
    ]
    assert wrong == []


def test_only_the_engine_imports_mlx():
    wrong = [
        f"{i.place}: {i.importer} imports {i.imported}"
        for i in imports()
        if not i.is_ours
        and i.imported.split(".")[0] in ENGINE_ONLY
        and room_of(i.importer) not in ENGINE_ROOMS
    ]
    assert wrong == []


def test_the_scripts_that_make_the_demo_model_are_used_by_nobody():
    """The package itself, which says where the model lies, is."""
    wrong = [
        f"{i.place}: {i.importer} imports {i.imported}"
        for i in imports()
        if i.is_ours and i.imported.startswith("daemon.demo.")
        if room_of(i.importer) != "daemon.demo"
    ]
    assert wrong == []


def test_the_five_folders_import_each_other_relatively():
    absolute = [
        each
        for module, file in modules().items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level == 0
        if (node.module or "").split(".")[0] == "fastmlx"
        for each in [f"{module}:{node.lineno}"]
    ]
    assert absolute == []
