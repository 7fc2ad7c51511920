"""A small Hugging Face Hub on this machine."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from folders import write_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """The few endpoints of the Hub that a download uses; one public model, one gated."""

    files: dict[str, bytes]
    fetched: list[str]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/api/models/org/model/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                for name, data in self.files.items()
            ]
            self._json(200, tree)
        elif path in ("/api/models/org/model/revision/main", "/api/models/org/model"):
            siblings = [{"rfilename": name} for name in self.files]
            self._json(200, {"id": "org/model", "sha": COMMIT, "siblings": siblings})
        elif path.startswith("/api/models/org/model/revision/"):
            self._json(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
        elif path.startswith("/api/models/org/gated"):
            self._json(403, {"error": "no"}, {"X-Error-Code": "GatedRepo"})
        elif path.startswith("/org/model/resolve/"):
            name = path.split("/", 5)[5]  # /org/model/resolve/REVISION/NAME
            data = self.files[name]
            if self.command == "GET":
                self.fetched.append(name)
            self._send(200, data, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT})
        else:
            self._json(404, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(body).encode(), headers or {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def small_hub(folder: Path) -> Iterator[tuple[str, type[Hub]]]:
    """(url, its handler class) of a Hub that holds org/model; `folder` is for its files."""
    source = write_model(folder, weights_bytes=300_000)
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    files |= {"README.md": b"# Hello", "chat_template.jinja": b"{{ messages }}", "evil.py": b"boo"}
    handler = type("OneHub", (Hub,), {"files": files, "fetched": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler
        finally:
            server.shutdown()
            thread.join()


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
