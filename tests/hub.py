"""A small Hugging Face Hub on this machine, whose connections break when a test wants them to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from folders import write_model

LFS_BYTES = 10_000  # files from here on have a sha256
PIECE_BYTES = 16 << 10


class Asked(NamedTuple):
    """A request for a file's content."""

    name: str
    range: str | None
    token: str | None


@dataclass
class Fault:
    """What happens to one answer."""

    status: int = 0  # answered instead of the content
    headers: dict[str, str] = field(default_factory=dict)
    after: int | None = None  # bytes of the body, then the connection breaks, or waits for `until`
    until: threading.Event | None = None
    ignores_range: bool = False
    damages: bool = False  # one bit of what is sent
    starts_at: int | None = None  # another byte than was asked for, and says so


class SmallHub:
    """Models by id → name → content. `faults` of a file are used up one by one, oldest first."""

    def __init__(self) -> None:
        self.models: dict[str, dict[str, bytes]] = {}
        self.claims: dict[str, int] = {}  # name → the size that is said of it
        self.tags: dict[str, list[str]] = {}
        self.gated: set[str] = set()  # open to those who send a token
        self.asked: list[Asked] = []
        self.faults: dict[str, list[Fault]] = {}
        self.url = ""

    def add(self, id: str, folder: Path, *, weights_bytes: int = 300_000, **extra: bytes) -> None:
        """A model whose weights are random numbers, so that no two parts of it are alike."""
        source = write_model(folder, weights_bytes=weights_bytes)
        files = {path.name: path.read_bytes() for path in source.iterdir()}
        noise = random.Random(id).randbytes(weights_bytes)
        files["model.safetensors"] = files["model.safetensors"][:-weights_bytes] + noise
        self.models[id] = files | {
            "README.md": b"# Hello",
            "chat_template.jinja": b"{{ messages }}",
            "evil.py": b"boo",
            **extra,
        }

    def fail(self, name: str, *faults: Fault) -> None:
        self.faults.setdefault(name, []).extend(faults)

    def commit(self, id: str) -> str:
        text = repr(sorted(self.models[id].items()))
        return hashlib.sha1(text.encode()).hexdigest()

    @property
    def fetched(self) -> list[str]:
        """Names of the files that were asked for, in that order."""
        return [each.name for each in self.asked]

    def info(self, id: str) -> dict[str, Any]:
        siblings = []
        for name, data in self.models[id].items():
            size = self.claims.get(name, len(data))
            entry: dict[str, Any] = {"rfilename": name, "size": size, "blobId": git_sha(data)}
            if size >= LFS_BYTES:
                sha = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"sha256": sha, "size": size, "pointerSize": 134}
            siblings.append(entry)
        weights = len(self.models[id].get("model.safetensors", b""))
        return {
            "_id": "0",
            "id": id,
            "modelId": id,
            "sha": self.commit(id),
            "private": False,
            "gated": "auto" if id in self.gated else False,
            "downloads": 12_345,
            "likes": 7,
            "tags": self.tags.get(id, ["mlx", "safetensors", "license:apache-2.0"]),
            "pipeline_tag": "text-generation",
            "lastModified": "2026-01-01T00:00:00.000Z",
            "safetensors": {"parameters": {"BF16": weights // 2}, "total": weights // 2},
            "siblings": siblings,
        }


def git_sha(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: SmallHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        if path == "/api/models":
            self._list(query)
            return
        if found := re.fullmatch(
            r"/api/models/([^/]+/[^/]+)(?:/(revision|auth-check)(?:/(.+))?)?", path
        ):
            self._about(found[1], found[2], found[3])
            return
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._content(found[1], found[3])
            return
        self._error(404, "RepoNotFound")

    def _list(self, query: dict[str, list[str]]) -> None:
        words = query.get("search", [""])[0].lower()
        wanted = set(query.get("filter", []))
        found = [
            {k: v for k, v in self.hub.info(id).items() if k not in ("siblings", "sha")}
            for id in self.hub.models
            if words in id.lower() and wanted <= set(self.hub.info(id)["tags"])
        ]
        self._json(200, found[: int(query.get("limit", ["100"])[0])])

    def _about(self, id: str, what: str | None, revision: str | None) -> None:
        if id not in self.hub.models:
            self._error(404, "RepoNotFound")
        elif what == "auth-check":
            self._error(403, "GatedRepo") if self._is_shut(id) else self._json(200, {})
        elif what == "revision" and revision not in ("main", self.hub.commit(id)):
            self._error(404, "RevisionNotFound")
        else:
            self._json(200, self.hub.info(id))

    def _is_shut(self, id: str) -> bool:
        return id in self.hub.gated and not self.headers.get("Authorization")

    def _content(self, id: str, name: str) -> None:
        if self._is_shut(id):
            self._error(403, "GatedRepo")
            return
        if name not in self.hub.models.get(id, {}):
            self._error(404, "EntryNotFound")
            return
        data = self.hub.models[id][name]
        fault = Fault()
        if self.command == "GET":
            asked = Asked(name, self.headers.get("Range"), self.headers.get("Authorization"))
            self.hub.asked.append(asked)
            if waiting := self.hub.faults.get(name):
                fault = waiting.pop(0)
        if fault.status:
            self._send(fault.status, b"no", fault.headers)
            return
        start, status = 0, 200
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if found and not fault.ignores_range:
            start, status = int(found[1]), 206
            if start >= len(data):
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            start = start if fault.starts_at is None else fault.starts_at
        body = bytearray(data[start:])
        if fault.damages:
            body[len(body) // 2] ^= 1
        headers = {"ETag": f'"{git_sha(data)}"', "Accept-Ranges": "bytes"}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(status, bytes(body), headers, fault)

    def _error(self, status: int, code: str) -> None:
        self._json(status, {"error": "no"}, {"X-Error-Code": code})

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), headers or {})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        fault = fault or Fault()
        with contextlib.suppress(OSError):
            self.wfile.write(body[: fault.after])
            if fault.after is None:
                return
            self.wfile.flush()
            if fault.until is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                fault.until.wait(60)
                self.wfile.write(body[fault.after :])


@contextmanager
def running() -> Iterator[SmallHub]:
    """A Hub without models."""
    hub = SmallHub()
    handler = type("OneHub", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            for fault in [each for faults in hub.faults.values() for each in faults]:
                if fault.until is not None:
                    fault.until.set()
            server.shutdown()
            thread.join()


@contextmanager
def small_hub(folder: Path) -> Iterator[SmallHub]:
    """A Hub that holds org/model; `folder` is for its files."""
    with running() as hub:
        hub.add("org/model", folder)
        yield hub


def environment(url: str, cache: Path) -> dict[str, str]:
    """For a process whose Hub is the one at `url`."""
    return {
        "HF_ENDPOINT": url,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN_PATH": str(cache / "no-token"),
        "NO_PROXY": "127.0.0.1",
    }


def use(url: str, cache: Path, set: Callable[[str, Any], None]) -> None:
    """The same for this process, whose client is imported already. `set` is `monkeypatch.setattr`
    for names of `huggingface_hub.constants`."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    set("huggingface_hub.constants.ENDPOINT", url)
    set("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    set("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    set("huggingface_hub.constants.HF_TOKEN_PATH", str(cache / "no-token"))
