"""A front whose only model, "m", says what a test tells it: all is real but the model's words."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastmlx.config.paths import Home
from fastmlx.config.settings import ModelSpec, Settings
from fastmlx.config.state import ConfigState
from fastmlx.daemon.access.access import Access
from fastmlx.daemon.app import create_app
from fastmlx.daemon.reconcile import reconcile
from fastmlx.daemon.store.store import Store
from fastmlx.daemon.supervisor.supervisor import Supervisor
from fastmlx.daemon.tasks.embed import Embedder
from fastmlx.daemon.tasks.front import Front
from fastmlx.daemon.tasks.generate import Generator
from fastmlx.daemon.tasks.rerank import Ranker
from fastmlx.daemon.tasks.running import RunningRequests
from fastmlx.daemon.tasks.task import Shared
from fastmlx.daemon.tasks.texts import Texts
from fastmlx.daemon.tasks.tokens import TokenTools
from fastmlx.daemon.text.tokenizer import Tokenizer

ENGINE = Path(__file__).with_name("scripted_engine.py")
SCRIPT = (sys.executable, str(ENGINE))


@dataclass
class Scripted:
    """A front that serves at `url`."""

    url: str
    front: Front
    folder: Path  # of the model
    tokenizer: Tokenizer

    def say(self, *texts: str | Sequence[str | int]) -> None:
        """What the next sequences get: the first text the first one, the last one all later ones.
        Each text ends with the stop token; one in pieces has marks of the engine's among them."""
        scripts = [self._script([text] if isinstance(text, str) else text) for text in texts]
        new = self.folder / "script.new"
        new.write_text(json.dumps(scripts))
        new.replace(self.folder / "script.json")
        (self.folder / "prompts.jsonl").unlink(missing_ok=True)

    def _script(self, pieces: Sequence[str | int]) -> list[int]:
        encode = self.tokenizer.encode
        parts = (encode(piece) if isinstance(piece, str) else [piece] for piece in pieces)
        return [token for part in parts for token in part]

    @property
    def prompts(self) -> list[list[int]]:
        """The prompts of all sequences since `say`, in tokens."""
        lines = (self.folder / "prompts.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def text(self, number: int) -> str:
        return self.tokenizer.decode(self.prompts[number], skip_special_tokens=False)


@asynccontextmanager
async def scripted(
    root: Path, model: Path, *, command: Sequence[str] = SCRIPT, **settings: Any
) -> AsyncIterator[Scripted]:
    """`model` is the folder of a tiny model, which is copied; `root` an empty folder. `command`
    starts the engine: that of this folder, or the real one, which knows of no script."""
    folder = shutil.copytree(model, root / "model")
    (folder / "script.json").write_text("[[0]]")
    home = Home(root / "home")
    home.create()
    settings = {"models": {"m": ModelSpec(path=str(folder))}} | settings
    config = ConfigState(home.config, Settings(**settings))
    supervisor = Supervisor(home=home, memory_limit_bytes=1 << 40, command=tuple(command))
    store = Store.open(home.database)
    texts = Texts()
    running = RunningRequests()
    shared = Shared(config, supervisor, texts, store.record, running=running)
    embedder = Embedder(shared)
    front = Front(
        home,
        config,
        supervisor,
        store,
        Generator(shared),
        version="1.0",
        embedder=embedder,
        ranker=Ranker(shared, embedder),
        token_tools=TokenTools(config, texts),
        access=Access(home),
        running=running,
    )
    await reconcile(None, config.settings, supervisor)
    listener = socket.create_server(("127.0.0.1", 0))
    server = await create_app(front).create_server(
        sock=listener, asyncio_server_kwargs={"start_serving": False}
    )
    assert server is not None
    assert server.server is not None
    await server.startup()
    await server.before_start()
    await server.server.start_serving()
    try:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Scripted(url, front, folder, Tokenizer.load(folder))
    finally:
        server.server.close()
        for connection in list(server.connections):
            connection.abort()
        await supervisor.stop(0)
        await server.after_stop()
        await front.close()
        await asyncio.to_thread(store.close)
