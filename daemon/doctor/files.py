"""Checks of the home and of the folders that config.yaml names."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from ...config.errors import ConfigError
from ...config.load import load_file
from ...config.paths import Home, looks_like_folder
from ...config.settings import Settings
from ..cold.schema import NAME as INDEX
from .finding import Finding, fault, ok, warning

FOLDER_S = 5.0  # patience with one folder
# A child process: on an external disk macOS asks the user first, and the call waits for the
# answer, in the kernel and without a limit.
LOOK = "import os, sys; next(os.scandir(sys.argv[1]), None)"
ABSENT = "is not there"
PRIVACY = (
    "macOS may be waiting for your consent: System Settings, Privacy & Security, Files and Folders "
    "(or Full Disk Access) for the terminal and for Python; or the disk sleeps or is gone"
)


def config(home: Home) -> tuple[Finding, Settings]:
    """With the settings to go on with: the defaults where the file is wrong or not there."""
    if not home.config.exists():
        return ok("Config", f"{home.config} is written at the first start"), Settings()
    try:
        settings = load_file(home.config)
    except ConfigError as error:
        remedy = "correct it; what was in force stays in force meanwhile"
        return fault("Config", f"{home.root}/{error}".replace("\n", " "), remedy), Settings()
    except OSError as error:
        return fault("Config", f"{home.config}: {error.strerror}", "make it readable"), Settings()
    return ok(
        "Config", f"{home.config}: {_counted(len(settings.models), 'model')} declared"
    ), settings


def folders_of(home: Home, settings: Settings) -> Iterator[Path]:
    """What must be readable: the home, the cold tier, folders of models and of discovery."""
    yield home.root
    if settings.cache.directory is not None:
        yield settings.cache.directory
    for spec in settings.models.values():
        for each in (spec.path, *spec.always_adapters, *spec.named_adapters.values()):
            if looks_like_folder(str(each)):
                yield Path(each)
    for place in settings.discover:
        if looks_like_folder(place):
            yield Path(place)


def folders(
    places: Iterable[Path], timeout_s: float = FOLDER_S, may_lack: Iterable[Path] = ()
) -> list[Finding]:
    """One finding for all that are well, and one for each that is not. Those that one `may_lack`
    are looked at, too: to ask first whether they are there could already take for ever."""
    optional = set(may_lack)
    wanted = list(dict.fromkeys([*places, *optional]))
    with ThreadPoolExecutor(max(1, len(wanted))) as pool:
        problems = list(pool.map(lambda place: _why_unreadable(place, timeout_s), wanted))
    lacking = {
        place
        for place, problem in zip(wanted, problems, strict=True)
        if problem is not None and problem[0] == ABSENT and place in optional
    }
    found = [
        fault("Folders", f"{place}: {why}", remedy)
        for place, problem in zip(wanted, problems, strict=True)
        if problem is not None and place not in lacking
        for why, remedy in [problem]
    ]
    well = len(wanted) - len(found) - len(lacking)
    return found or [ok("Folders", f"{_counted(well, 'folder')} can be read")]


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _why_unreadable(place: Path, timeout_s: float) -> tuple[str, str] | None:
    """(what is wrong, what to do)"""
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", LOOK, str(place)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _, printed = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        with suppress(subprocess.TimeoutExpired):  # in the kernel it may not even hear that
            child.communicate(timeout=1)
        return f"does not answer within {timeout_s:.0f} s", PRIVACY
    if child.returncode == 0:
        return None
    why = printed.decode(errors="replace").strip().rpartition("\n")[2]
    if "FileNotFoundError" in why:
        return ABSENT, "connect its disk, or change the entry in config.yaml"
    if "PermissionError" in why:
        return "may not be read", f"change its permissions; {PRIVACY}"
    return why, "change the entry in config.yaml"


def database(path: Path) -> Finding:
    """Of usage and conversations."""
    return _sqlite(
        "Database",
        path,
        "stop the daemon and start it again: it moves a damaged file aside and begins a new one",
    )


def cold_tier(directory: Path) -> Finding:
    """The index of the prefixes on disk; the blocks themselves are checked when they are read."""
    return _sqlite(
        "Cold tier",
        directory / INDEX,
        "`fastmlx cache clear --cold`: only prompts are computed again",
    )


def _sqlite(name: str, path: Path, remedy: str) -> Finding:
    if not path.exists():
        return ok(name, f"{path} is not there yet")
    try:
        # Not immutable: a daemon may be writing.
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
            rows = connection.execute("PRAGMA quick_check(3)").fetchall()
    except sqlite3.OperationalError as error:
        return warning(name, f"{path} cannot be checked: {error}", "try again in a moment")
    except sqlite3.Error as error:
        return fault(name, f"{path} is damaged: {error}", remedy)
    problems: Sequence[str] = [str(row[0]) for row in rows if row[0] != "ok"]
    if problems:
        return fault(name, f"{path} is damaged: {problems[0]}", remedy)
    return ok(name, f"{path} is whole")
