"""What happens before an engine is ready, and the front's words to one that runs: no socket."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from engines import core_at
from fastmlx.daemon.engine.loop import handle, prepare
from fastmlx.daemon.engine.ranks.lockstep import Lockstep
from fastmlx.daemon.protocol import wire

TinyModel = Callable[..., Path]


def ready(load: wire.Load) -> wire.Ready:
    said: list[msgspec.Struct] = []
    prepare(load, Lockstep(), said.append)
    assert isinstance(said[-1], wire.Ready)
    return said[-1]


def test_that_an_architecture_cannot_batch_is_said_in_its_card_and_once_in_the_log(
    tiny_model: TinyModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    load = wire.Load("m", str(tiny_model("llama4")))
    first = ready(load)
    assert not first.batches
    (note,) = first.notes
    assert "one at a time" in note
    assert caplog.messages == [note]
    again = ready(msgspec.structs.replace(load, warmed=first.warmed))
    assert again.notes == first.notes
    assert caplog.messages == [note]


def test_of_an_architecture_that_can_do_everything_nothing_is_said(
    tiny_model: TinyModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    frozen = gc.get_freeze_count()
    assert ready(wire.Load("m", str(tiny_model("qwen3")))).notes == ()
    assert not caplog.messages
    assert gc.get_freeze_count() > frozen, "the collector looks at what stays for ever"


def test_the_largest_gap_can_be_tuned_while_the_engine_runs(tiny_model: TinyModel) -> None:
    core = core_at(tiny_model("qwen3"))
    level = logging.getLogger().level
    try:
        for gap_s in (0.1, None):
            assert handle(core, wire.Tune(gap_s))
            assert core.pacer.max_gap_s == gap_s
    finally:
        logging.getLogger().setLevel(level)
