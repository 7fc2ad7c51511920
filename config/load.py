"""config.yaml → Settings, or a ConfigError that says where and what instead."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .document import MAX_CHARACTERS, Loc, Problem, Table, index_of, line_and_column, parse, values
from .environment import Overrides, overrides
from .errors import ConfigError
from .explain import dotted, explain
from .paths import anchored, looks_like_folder
from .settings import Settings

__all__ = ["ConfigError", "check", "load", "load_file", "read_text", "write_default"]

_DEFAULT = Path(__file__).with_name("default.yaml")
_MAX_BYTES = 4 * MAX_CHARACTERS  # UTF-8 takes at most four bytes a character
_DISCOVERERS = ("huggingface", "lmstudio")


def load(text: str, path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings that `text`, the content of `path`, and `environ` (the process's) declare.

    Touches no file: relative folders are resolved against the folder of `path` by name only.
    Raises ConfigError, and nothing else.
    """
    found = check(text, path, environ)
    if isinstance(found, Settings):
        return found
    raise found[0]


def check(
    text: str, path: Path, environ: Mapping[str, str] | None = None
) -> Settings | list[ConfigError]:
    """Like `load`, but all that is wrong: at least one error, the first in the text first."""
    environ = os.environ if environ is None else environ
    text = text.removeprefix("\ufeff")  # invisible in editors, which count columns after it
    root: Table | None = None
    try:
        over = overrides(environ, path)
    except ConfigError as error:
        return [error]
    try:
        root = parse(text)
        written = values(root, text, environ) if root is not None else {}
        return Settings(**_with_folders(over.over(written), path.absolute().parent))
    except Problem as problem:
        return [_located(problem, root, over, text, path)]
    except ValidationError as error:
        return _all(error, root, over, text, path)


def load_file(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """`load` of the file's content. Raises ConfigError, also when it cannot be read."""
    return load(read_text(path), path, environ)


def read_text(path: Path) -> str:
    """The text of a configuration file. Raises ConfigError, without a place or with the place of
    the first byte that is not UTF-8."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ConfigError(path, None, None, "", "is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe could wait for ever
            raise ConfigError(path, None, None, "", "is not a regular file")
        if status.st_size > _MAX_BYTES:
            raise ConfigError(path, None, None, "", f"is larger than {_MAX_BYTES >> 20} MiB")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigError(path, None, None, "", "does not exist") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(path, None, None, "", f"cannot be read: {reason}") from error
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        line, column = line_and_column(before, len(before))
        message = f"byte 0x{content[error.start]:02x} is not UTF-8"
        raise ConfigError(path, line, column, "", message, "save it as UTF-8") from error


def write_default(path: Path) -> bool:
    """Write the commented default configuration, whole or not at all, unless `path` exists.

    True when it was written. Raises OSError.
    """
    if os.path.lexists(path):
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_DEFAULT.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)  # unlike a rename, never over a file that came meanwhile
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            temporary.rename(path)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _with_folders(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`settings` (as written) with folders made absolute. Values of wrong types pass through, for
    validation to refuse. Raises Problem without a place, but with `loc`."""

    def absolute(value: Any, loc: Loc) -> Any:
        try:
            return str(anchored(value, folder)) if isinstance(value, str) and value else value
        except ValueError as error:
            raise Problem(-1, str(error), loc=loc) from error

    def maybe(value: Any, loc: Loc) -> Any:
        is_folder = isinstance(value, str) and looks_like_folder(value)
        return absolute(value, loc) if is_folder else value

    def adapter(value: Any, loc: Loc) -> Any:
        if isinstance(value, dict) and "path" in value:
            return value | {"path": maybe(value["path"], (*loc, "path"))}
        return maybe(value, loc)

    def adapters(value: Any, loc: Loc) -> Any:
        if isinstance(value, list):
            return [adapter(item, (*loc, index)) for index, item in enumerate(value)]
        return adapter(value, loc)

    def each(value: Any, loc: Loc) -> Any:
        if isinstance(value, list):
            return [maybe(item, (*loc, index)) for index, item in enumerate(value)]
        return maybe(value, loc)

    result = dict(settings)
    cache, models = result.get("cache"), result.get("models")
    if isinstance(cache, dict) and "directory" in cache:
        directory = absolute(cache["directory"], ("cache", "directory"))
        result["cache"] = cache | {"directory": directory}
    if "discover" in result:
        result["discover"] = each(result["discover"], ("discover",))
    if isinstance(models, dict):
        of_key = {"path": maybe, "chat_template": absolute, "adapters": adapters}
        result["models"] = {
            name: spec
            if not isinstance(spec, dict)
            else {
                key: of_key[key](value, ("models", name, key)) if key in of_key else value
                for key, value in spec.items()
            }
            for name, spec in models.items()
        }
    return result


def _all(
    error: ValidationError, root: Table | None, over: Overrides, text: str, path: Path
) -> list[ConfigError]:
    """In the order of the text; a misspelt key goes before what it leaves missing."""
    errors = []
    for details in error.errors(include_url=False):
        found = explain(details)
        index = index_of(root, found.loc, of_key=found.of_key)
        errors.append((details["type"] == "missing", index, found))
    errors.sort(key=lambda entry: entry[:2])
    return [
        _located(
            Problem(
                index if over.variable_at(found.loc) is None else -1,
                found.message,
                loc=found.loc,
                hint=found.hint,
            ),
            *(root, over, text, path),
        )
        for _, index, found in errors
    ]


def _located(
    problem: Problem, root: Table | None, over: Overrides, text: str, path: Path
) -> ConfigError:
    index = problem.index
    if index < 0:  # a value, which may come from elsewhere than the text
        variable = over.variable_at(problem.loc)
        if variable is not None:
            return ConfigError(
                path, None, None, variable, problem.message, problem.hint, loc=problem.loc
            )
        index = index_of(root, problem.loc)
    line, column = line_and_column(text, index)
    key = dotted(problem.loc)
    return ConfigError(path, line, column, key, problem.message, problem.hint, loc=problem.loc)
