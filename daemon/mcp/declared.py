"""mcp.json: text → the servers that it declares, or what is wrong with it. Pure.

The shape is Claude Desktop's, {"mcpServers": {NAME: {…}}}; of an entry,

    command, args, env, cwd     a program that speaks over its stdin and stdout
    url, headers, type          a server elsewhere: "http" (streamable HTTP) or "sse"
    disabled                    declared, but not connected to

and other keys, which clients add for themselves, are left alone. `${VAR}` and `${VAR:-default}` in
any text are taken from the environment, so that no secret has to stand in the file.

Source: https://modelcontextprotocol.io/docs/develop/connect-local-servers
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from ...config.errors import ConfigError
from ..logs.secrets import HIDDEN, without_secrets

Transport = Literal["stdio", "http", "sse"]
_TYPES: dict[str, Transport] = {
    "stdio": "stdio",
    "sse": "sse",
    "http": "http",
    "streamable-http": "http",
    "streamable_http": "http",
    "streamableHttp": "http",
}
_VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)(?::-([^}]*))?\}")
_SECRET_NAME = re.compile(
    r"[\w-]*(?:key|token|secret|passw(?:or)?d|credential|auth)[\w-]*", re.IGNORECASE
)
MAX_NAME = 64


class ServerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One entry, checked. Two that are equal need no new connection."""

    transport: Transport
    command: str = ""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = {}
    disabled: bool = False
    written: tuple[str, ...] = ()  # command and args, or the url, with their variables

    def where(self, *, whole: bool = True) -> str:
        """For people: what is started or called. No secrets: neither env, headers, a query, what a
        variable holds, nor an argument that looks like one or stands behind an option that says so;
        not `whole`, for who did not declare it, neither arguments nor a path."""
        if self.transport == "stdio":
            return " ".join(_plain(self.written)) if whole else self.command.rpartition("/")[2]
        parts = urlsplit(self.url)
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        if not whole:
            return place
        return f"{place}/…" if "${" in self.written[0].partition("?")[0] else place + parts.path


def _plain(words: tuple[str, ...]) -> Iterator[str]:
    before = ""
    for word in words:
        name, sign, value = word.partition("=")
        if "${" in word:
            yield word  # a variable's name is none
        elif sign and value and _SECRET_NAME.fullmatch(name):
            yield f"{name}={HIDDEN}"
        elif before.startswith("-") and word[:1] != "-" and _SECRET_NAME.fullmatch(before):
            yield HIDDEN
        else:
            yield without_secrets(word)
        before = word


def read(text: str, path: Path, environ: Mapping[str, str]) -> dict[str, ServerSpec]:
    """The servers in their order; a text without any JSON declares none. Raises ConfigError."""
    if not text.strip():
        return {}
    try:
        whole = json.loads(text)
        json.dumps(whole, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ConfigError(path, error.lineno, error.colno, "", error.msg) from None
    except UnicodeEncodeError:
        raise ConfigError(path, None, None, "", "has half a character, as \\ud83d alone") from None
    except ValueError as error:  # a number with thousands of digits
        raise ConfigError(path, None, None, "", str(error)) from None
    except RecursionError:
        raise ConfigError(path, None, None, "", "is nested too deeply") from None
    if not isinstance(whole, dict):
        raise ConfigError(path, 1, 1, "", "must be an object with mcpServers")
    entries = whole.get("mcpServers")
    if entries is None:
        hint = "write {} for none" if whole else None
        if whole:
            raise ConfigError(path, 1, 1, "mcpServers", "is missing", hint)
        return {}
    return {
        name: _Entry(path, name, environ).read(entry)
        for name, entry in _object(entries, path, "mcpServers").items()
    }


def _object(value: Any, path: Path, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(path, None, None, key, "must be an object")
    return value


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or a port that are none
        return False


class _Entry:
    """One entry while it is read."""

    def __init__(self, path: Path, name: str, environ: Mapping[str, str]) -> None:
        self._path = path
        self._key = f"mcpServers.{name}"
        self._environ = environ
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise self._wrong("", f"a name has 1 to {MAX_NAME} printable characters")

    def read(self, entry: Any) -> ServerSpec:
        fields = {k: v for k, v in _object(entry, self._path, self._key).items() if v is not None}
        command, url = self._text(fields, "command"), self._text(fields, "url")
        if bool(command) == bool(url):
            raise self._wrong("", "needs either command or url")
        disabled = fields.get("disabled", False)
        if not isinstance(disabled, bool):
            raise self._wrong("disabled", "must be true or false")
        transport = self._transport(fields, url)
        if (transport == "stdio") != bool(command):
            raise self._wrong("type", f"{transport} goes with {'command' if url else 'url'}")
        if url and not _is_address(url):
            raise self._wrong("url", "must begin with http:// or https:// and name a host")
        return ServerSpec(
            transport=transport,
            command=command,
            args=self._list(fields, "args"),
            env=self._texts(fields, "env"),
            cwd=self._text(fields, "cwd") or None,
            url=url,
            headers=self._texts(fields, "headers"),
            disabled=disabled,
            written=(str(fields["url"]),)
            if url
            else (str(fields["command"]), *map(str, fields.get("args", []))),
        )

    def _transport(self, fields: Mapping[str, Any], url: str) -> Transport:
        written = fields.get("type", fields.get("transport"))
        if written is None:
            old = url.partition("?")[0].rstrip("/").endswith("/sse")
            return "stdio" if not url else "sse" if old else "http"
        if not isinstance(written, str) or written not in _TYPES:
            raise self._wrong("type", "must be stdio, http or sse")
        return _TYPES[written]

    def _list(self, fields: Mapping[str, Any], key: str) -> tuple[str, ...]:
        values = fields.get(key, [])
        if not isinstance(values, list):
            raise self._wrong(key, "must be a list of texts")
        return tuple(self._value(value, f"{key}.{i}") for i, value in enumerate(values))

    def _texts(self, fields: Mapping[str, Any], key: str) -> dict[str, str]:
        values = fields.get(key, {})
        if not isinstance(values, dict):
            raise self._wrong(key, "must be an object of texts")
        return {name: self._value(value, f"{key}.{name}") for name, value in values.items()}

    def _text(self, fields: Mapping[str, Any], key: str) -> str:
        return self._value(fields[key], key).strip() if key in fields else ""

    def _value(self, value: Any, key: str) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)  # ports among args and env
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(key, "must be a text")

        def variable(found: re.Match[str]) -> str:
            given = self._environ.get(found[1]) or found[2]
            if given is None:
                raise self._wrong(key, f"the environment variable {found[1]} is not set")
            return given

        return _VARIABLE.sub(variable, value)

    def _wrong(self, key: str, message: str) -> ConfigError:
        return ConfigError(
            self._path, None, None, f"{self._key}.{key}" if key else self._key, message
        )
