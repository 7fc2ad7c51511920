"""A model's card, from its files and its entry alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmlx.config.adapters import AdapterSpec
from fastmlx.config.settings import DistributedSpec, ModelSpec
from fastmlx.daemon.cli import main
from fastmlx.daemon.protocol.errors import ModelFailed
from fastmlx.daemon.tasks.card import Card, card
from folders import write_model, write_safetensors

TinyModel = Callable[..., Path]


def of(path: Path, limit_bytes: int | None = None, **fields: object) -> Card:
    return card(ModelSpec.model_validate({"path": str(path)} | fields), limit_bytes)


def test_the_demo_model_is_described() -> None:
    found = card(ModelSpec(path="builtin:demo"), 1 << 30)
    assert (found.kind, found.architecture, found.quantization) == ("text", "qwen3", None)
    assert found.parameters == 2_608_320
    assert found.chat_templates == ["default"]
    assert (found.tool_parser, found.reasoning_parser) == ("hermes", "think")
    assert found.fits
    assert [need.tokens for need in found.memory] == [4096, 16384, 32768]
    assert found.memory[-1].kv_bytes == 32768 * found.kv_bytes_per_token
    assert found.problems == []


def test_parameters_are_the_same_before_and_after_quantising(tiny_model: TinyModel) -> None:
    plain, packed = of(tiny_model("qwen3")), of(tiny_model("qwen3", bits=4))
    assert packed.quantization == "4-bit, group 32"
    assert packed.parameters == plain.parameters
    assert packed.weights_bytes < plain.weights_bytes


def test_what_does_not_fit_is_said_by_length(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", weights_bytes=5000, max_position_embeddings=40_000)
    whole = of(folder)
    assert whole.fits is None
    limit = whole.memory[1].total_bytes
    found = of(folder, limit)
    assert [need.fits for need in found.memory] == [True, True, False, False]
    assert found.memory[-1].tokens == 40_000
    assert of(folder, 1000).fits is False
    assert [need.tokens for need in of(folder, context=5000).memory] == [4096, 5000]


def test_a_split_model_counts_its_part(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", weights_bytes=50_000_000)
    hosts = DistributedSpec(hosts=("127.0.0.1", "10.1.2.3"))
    whole, half = of(folder), of(folder, distributed=hosts)
    assert half.needs_bytes < whole.needs_bytes
    assert half.memory[0].kv_bytes * 2 == whole.memory[0].kv_bytes


def test_adapters_are_looked_at(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", weights_bytes=5000)
    good, empty = tmp_path / "good", tmp_path / "empty"
    good.mkdir()
    (good / "adapter_config.json").write_text("{}")
    write_safetensors(good / "adapters.safetensors", {"w": 4096})
    empty.mkdir()
    paths = [good, empty, tmp_path / "gone"]
    found = of(folder, adapters=[AdapterSpec(path=str(path)) for path in paths])
    problems = [each.problem for each in found.adapters]
    assert problems[0] is None
    assert "adapter_config.json" in (problems[1] or "")
    assert "does not exist" in (problems[2] or "")
    assert found.needs_bytes > of(folder).needs_bytes + 4000


def test_what_keeps_it_from_answering_is_a_problem_and_what_is_no_model_an_error(
    tmp_path: Path,
) -> None:
    folder = write_model(tmp_path / "model", weights_bytes=5000)
    found = of(folder, chat_template=str(tmp_path / "none.jinja"), tool_parser="hermse")
    assert "none.jinja" in found.problems[0]
    assert "hermse" in found.problems[1]
    with pytest.raises(ModelFailed, match="does not exist"):
        of(tmp_path / "gone")


def test_the_verb_shows_the_card_of_a_folder_and_of_an_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "a model", weights_bytes=5000)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("FASTMLX_HOME", str(home))
    assert main(["info", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "llama" in shown
    assert "4,096" in shown
    monkeypatch.chdir(tmp_path)
    assert main(["info", "a model", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == str(folder)
    entry = f"models: {{mine: {{path: '{folder}', context: 100, aliases: [other]}}}}\n"
    (home / "config.yaml").write_text(entry)
    assert main(["info", "other", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["context"] == 100
    assert main(["info", str(tmp_path)]) == 1
    assert "config.json" in capsys.readouterr().err
    assert main(["info", "org/not-here"]) == 1
    assert "fastmlx pull org/not-here" in capsys.readouterr().err


def test_the_verb_needs_no_mlx() -> None:
    code = (
        "import sys; from fastmlx.daemon.cli import main; main(['info', 'builtin:demo'])\n"
        "assert not {'mlx', 'mlx_lm', 'transformers', 'sanic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
