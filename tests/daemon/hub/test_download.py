"""`pull` against a small Hub on this machine, through the real client."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
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
            name = path.rsplit("/", 1)[1]
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


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, type[Hub]]]:
    """(url, its handler class) of a Hub that holds org/model."""
    folder = write_model(tmp_path / "source", weights_bytes=300_000)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {"README.md": b"# Hello", "chat_template.jinja": b"{{ messages }}", "evil.py": b"boo"}
    handler = type("OneHub", (Hub,), {"files": files, "fetched": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


PULL = """
import json, sys
from fastmlx.daemon.hub.catalog import resolve
from fastmlx.daemon.hub.describe import describe
from fastmlx.daemon.hub.download import pull
from fastmlx.daemon.protocol.errors import ModelFailed
steps = []
try:
    folder = pull(sys.argv[1], sys.argv[2] or None, lambda done, total: steps.append((done, total)))
    assert resolve(sys.argv[1]) == folder
    print(json.dumps({"files": sorted(p.name for p in folder.iterdir()), "steps": steps,
                      "weights": describe(folder).weights_bytes}))
except ModelFailed as error:
    print(json.dumps({"error": error.message}))
"""


def pull(url: str, cache: Path, id: str, revision: str = "") -> dict[str, Any]:
    """In a process of its own: the client reads its settings when it is imported."""
    environment = os.environ | {
        "HF_ENDPOINT": url,
        "HF_HUB_CACHE": str(cache),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN_PATH": str(cache / "no-token"),
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", PULL, id, revision]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_a_model_is_fetched_without_what_it_does_not_need(
    hub: tuple[str, type[Hub]], tmp_path: Path
):
    url, handler = hub
    result = pull(url, tmp_path / "cache", "org/model")
    assert result["files"] == ["chat_template.jinja", "config.json", "model.safetensors"]
    assert result["weights"] == 300_000
    done = [step[0] for step in result["steps"]]
    assert done == sorted(done)
    assert done[0] == 0
    assert result["steps"][-1] == [sum(len(handler.files[n]) for n in result["files"])] * 2

    handler.fetched.clear()
    again = pull(url, tmp_path / "cache", "org/model")
    assert again["files"] == result["files"]
    assert again["steps"] == [result["steps"][-1]]
    assert handler.fetched == []


@pytest.mark.parametrize(
    ("id", "revision", "message"),
    [
        ("org/unknown", "", "There is no model org/unknown on the Hub"),
        ("org/gated", "", "ask for access"),
        ("org/model", "v9", "org/model has no revision v9"),
        ("a b c", "", "'a b c' is not a Hub id"),
    ],
)
def test_what_cannot_be_fetched_says_why(
    hub: tuple[str, type[Hub]], tmp_path: Path, id: str, revision: str, message: str
):
    assert message in pull(hub[0], tmp_path / "cache", id, revision)["error"]


def test_a_model_without_mlx_weights_is_refused_before_anything_is_fetched(
    hub: tuple[str, type[Hub]], tmp_path: Path
):
    url, handler = hub
    handler.files["pytorch_model.bin"] = handler.files.pop("model.safetensors")
    assert "has no MLX weights" in pull(url, tmp_path / "cache", "org/model")["error"]
    assert handler.fetched == []


def test_no_network_is_a_clear_error(tmp_path: Path):
    error = pull("http://127.0.0.1:9", tmp_path / "cache", "org/model")["error"]
    assert error.startswith("org/model could not be fetched: ")
