"""Work on the texts of a model whose folder means harm: nobody else waits for it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastmlx.config.settings import ModelSpec
from fastmlx.daemon.protocol.errors import BadRequest, ModelFailed
from fastmlx.daemon.tasks.texts import ModelSide, Texts

CHAT = [{"role": "user", "content": "a" * 26 + "b"}]
NESTED = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
# Quick for the words that it is tried on when it is loaded.
SLOW = "{% if messages[0].content[-1:] == 'b' %}" + NESTED + "{% endif %}{{ messages[0].content }}"


@pytest.fixture
async def side(tiny_model: Callable[..., Path], tmp_path: Path) -> ModelSide:
    """Of a model whose template takes for ever where a message ends with b."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model("qwen3"), folder)
    (folder / "chat_template.jinja").write_text(SLOW)
    return await Texts().get("m", ModelSpec(path=str(folder)))


async def turns_of_others(work: asyncio.Future[Any]) -> int:
    """How often somebody else had the event loop while it ran."""
    turns = 0
    while not work.done():
        await asyncio.sleep(0.01)
        turns += 1
    return turns


async def test_a_template_that_takes_long_does_so_beside_the_event_loop(
    side: ModelSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastmlx.daemon.text.sandbox.BRIEF_S", 0.01)
    monkeypatch.setattr("fastmlx.daemon.text.sandbox.MAX_S", 0.2)
    assert side.text.is_quick
    for _ in range(2):  # found out by the first
        work = asyncio.ensure_future(side.work(30, lambda: side.text.chat_prompt(CHAT)))
        assert await turns_of_others(work) > 5
        with pytest.raises(BadRequest, match=r"takes more than 0\.2 s"):
            work.result()
        assert not side.text.is_quick
    quick = await side.work(30, lambda: side.text.chat_prompt([{"role": "user", "content": "a"}]))
    assert quick.text == "a"


async def test_a_tokenizer_that_takes_for_ever_holds_up_its_own_model_alone(
    side: ModelSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = side.folder / "tokenizer.json"
    content = json.loads(file.read_text())
    # Some thousand steps at each letter of a run, and those of all the runs after it.
    regex = {"Regex": "(?:a|a?){14}$"}
    first = {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}
    steps = [first, content["pre_tokenizer"]]
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    file.write_text(json.dumps(content))
    side = await Texts().get("m", ModelSpec(path=str(side.folder)))
    assert not side.text.is_quick
    monkeypatch.setattr("fastmlx.daemon.tasks.texts.WORK_S", 0.2)
    encode = side.text.tokenizer.encode
    for _ in range(2):
        work = asyncio.ensure_future(side.work(30, lambda: encode("a" * 2_000 + "b")))
        assert await turns_of_others(work) > 5
        with pytest.raises(ModelFailed, match="takes longer than"):
            work.result()
    # Nothing waits for those threads: neither the pool of all others, nor the end.
    assert await asyncio.to_thread(lambda: 1) == 1
