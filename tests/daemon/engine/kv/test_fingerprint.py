"""The fingerprint of a model's folder changes when its weights do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmlx.daemon.engine.kv.fingerprint import weights_fingerprint


@pytest.fixture
def folder(tiny_model: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model("qwen3"), tmp_path / "model"))


def change(path: Path, at: int) -> None:
    """One byte of the file becomes another; its size and time stay as they were."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_copy_with_the_same_times_is_the_same_model(folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "other", copy_function=shutil.copy2)
    assert weights_fingerprint(folder) == weights_fingerprint(tmp_path / "other")


def test_a_byte_of_any_tensors_beginning_changes_it(folder: Path):
    weights = next(folder.glob("*.safetensors"))
    header = int.from_bytes(weights.read_bytes()[:8], "little")
    for at in (8 + header, 8 + header + 63):
        before = weights_fingerprint(folder)
        change(weights, at)
        assert weights_fingerprint(folder) != before


def test_config_size_name_and_time_change_it(folder: Path):
    weights = next(folder.glob("*.safetensors"))
    seen = {weights_fingerprint(folder)}
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    seen.add(weights_fingerprint(folder))
    os.utime(weights)
    seen.add(weights_fingerprint(folder))
    with weights.open("ab") as file:
        file.write(b"more")
    seen.add(weights_fingerprint(folder))
    weights.rename(weights.with_name("other.safetensors"))
    seen.add(weights_fingerprint(folder))
    assert len(seen) == 5


def test_what_the_engine_never_computes_with_does_not_change_it(folder: Path):
    before = weights_fingerprint(folder)
    (folder / "README.md").write_text("words")
    (folder / "chat_template.jinja").write_text("{{ other }}")
    (folder / "generation_config.json").write_text("{}")
    assert weights_fingerprint(folder) == before


NULL = (4).to_bytes(8, "little") + b"null"


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 64, NULL])
def test_weights_that_cannot_be_read_are_left_to_the_loader_to_refuse(folder: Path, content: bytes):
    next(folder.glob("*.safetensors")).write_bytes(content)
    assert len(weights_fingerprint(folder)) == 20
