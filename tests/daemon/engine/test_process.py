"""The engine as a process: what it says over its socket, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from engine_process import Engine
from engines import greedy
from fastmlx.daemon.protocol import wire
from tiny_adapters import write_adapter


@pytest.fixture
def engine() -> Iterator[Engine]:
    started = Engine()
    yield started
    started.close()


def test_it_tells_its_progress_answers_and_stops(
    engine: Engine, tiny_model: Callable[..., Path]
) -> None:
    engine.send(wire.Load("m", str(tiny_model("qwen3")), context=777))
    said = []
    for message in engine.messages():
        said.append(message)
        if isinstance(message, wire.Ready):
            break
    assert next(m.stage for m in said[:-1] if isinstance(m, wire.Loading)) == "importing"
    ready = said[-1]
    assert isinstance(ready, wire.Ready)
    assert ready.context == 777
    assert ready.batches
    assert ready.memory_bytes > 100_000
    engine.send(wire.Generate(5, [1, 2, 3], sampling=greedy(4)))
    engine.send(wire.Generate(6, [], sampling=greedy(4)))
    rows: list[wire.TokenRow] = []
    rejected = None
    stats = None
    for message in engine.messages():
        if isinstance(message, wire.Tokens):
            rows += message.rows
        elif isinstance(message, wire.Rejected):
            rejected = message
        elif isinstance(message, wire.Stats):
            stats = message
            if rows and rows[-1].finish and not message.running:
                break
    assert rows[-1].finish == "length"
    assert rejected is not None
    assert rejected.id == 6
    assert stats is not None
    assert stats.output_tokens == 4
    engine.send(wire.Stop())
    assert engine.process.wait(5) == 0


def test_what_the_last_engine_found_out_holds_for_the_same_model_alone(
    tiny_model: Callable[..., Path],
) -> None:
    folders = [tiny_model("qwen3"), tiny_model("llama")]

    def ready(folder: Path, warmed: wire.Warmed | None) -> wire.Ready:
        engine = Engine()
        try:
            engine.send(wire.Load("m", str(folder), warmed=warmed))
            return engine.wait_for(wire.Ready)
        finally:
            engine.close()

    first = ready(folders[0], None)
    assert first.batches
    assert first.warmed is not None
    doubtful = msgspec.structs.replace(first.warmed, batches=False)
    assert not ready(folders[0], doubtful).batches, "it is believed"
    assert ready(folders[1], doubtful).batches, "of another model nothing is"


def test_it_imports_neither_transformers_nor_the_front(
    engine: Engine, tiny_model: Callable[..., Path]
) -> None:
    engine.load(tiny_model("qwen3"))
    maps = Path(f"/proc/{engine.process.pid}/maps")
    if maps.exists():
        assert "torch" not in maps.read_text()
    assert psutil.Process(engine.process.pid).memory_info().rss < 200 * 2**20


def test_it_ends_when_the_front_is_gone(engine: Engine, tiny_model: Callable[..., Path]) -> None:
    engine.load(tiny_model("qwen3"))
    engine.send(wire.Generate(1, [1, 2, 3], sampling=greedy(4000)))
    engine.wait_for(wire.Tokens)
    engine.socket.close()
    assert engine.process.wait(5) == 0


def test_ctrl_c_in_the_terminal_does_not_reach_it(
    engine: Engine, tiny_model: Callable[..., Path]
) -> None:
    engine.load(tiny_model("qwen3"))
    engine.process.send_signal(signal.SIGINT)
    engine.send(wire.Generate(1, [1, 2, 3], sampling=greedy(2)))
    assert engine.wait_for(wire.Tokens).rows


def test_garbage_on_the_socket_ends_it_with_a_word(
    engine: Engine, tiny_model: Callable[..., Path]
) -> None:
    engine.load(tiny_model("qwen3"))
    engine.socket.sendall(b"\x05\x00\x00\x00hello")
    assert engine.process.wait(5) == 1
    assert "not our protocol" in (engine.process.stderr.read() if engine.process.stderr else "")


def damaged(folder: Path, copy: Path, how: str) -> Path:
    shutil.copytree(folder, copy)
    weights = copy / "model.safetensors"
    config = json.loads((copy / "config.json").read_text())
    match how:
        case "no weights":
            weights.unlink()
        case "truncated":
            os.truncate(weights, weights.stat().st_size // 2)
        case "unknown architecture":
            config["model_type"] = "no_such_model"
        case "wrong shape":
            config["hidden_size"] *= 2
        case "missing key":
            del config["hidden_size"]
        case "no heads":
            config["num_attention_heads"] = config["num_key_value_heads"] = 0
            config["head_dim"] = None
        case "half a head":
            config["head_dim"] = [3]
        case "broken json":
            (copy / "config.json").write_text("{")
        case "own code":
            config["model_file"] = "evil.py"
            (copy / "evil.py").write_text("raise SystemExit('ran')")
    if how != "broken json":
        (copy / "config.json").write_text(json.dumps(config))
    return copy


@pytest.mark.parametrize(
    "how",
    [
        "no weights",
        "truncated",
        "unknown architecture",
        "wrong shape",
        "missing key",
        "no heads",
        "half a head",
        "broken json",
        "own code",
    ],
)
def test_a_folder_that_cannot_be_loaded_gets_a_reason(
    how: str, engine: Engine, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = damaged(tiny_model("qwen3"), tmp_path / "copy", how)
    engine.send(wire.Load("m", str(folder)))
    failed = engine.wait_for(wire.LoadFailed)
    assert len(failed.message) > 10
    assert "Traceback" not in failed.message
    assert engine.process.wait(5) == 1


def test_half_precision_is_widened_where_there_is_no_gpu(
    engine: Engine, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    import mlx.core as mx

    if mx.metal.is_available():
        pytest.skip("Metal computes in half precision")
    folder = tmp_path / "half"
    shutil.copytree(tiny_model("qwen3"), folder)
    weights: dict[str, mx.array] = mx.load(str(folder / "model.safetensors"))  # type: ignore[assignment]
    halves = {name: array.astype(mx.bfloat16) for name, array in weights.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), halves)
    ready = engine.load(folder)
    assert ready.memory_bytes == sum(array.nbytes for array in weights.values())
    assert "float32" in ready.notes[0]


def test_an_adapter_changes_the_answer_as_mlx_lm_says(
    engine: Engine, tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    """LoRA weights made by mlx-lm's own tuner, once with and once without them."""
    folder = tiny_model("qwen3")
    adapter = write_adapter(folder, tmp_path / "adapter")
    from engines import alone, model_at
    from mlx_lm.utils import load_adapters

    prompt = [5, 9, 200, 31]
    plain, _ = alone(folder, prompt, 12)
    model = load_adapters(model_at.__wrapped__(folder), str(adapter))
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    adapted = [int(t) for t, _ in generate_step(mx.array(prompt), model, max_tokens=12)]
    assert adapted != plain
    engine.send(wire.Load("m", str(folder), adapters=(str(adapter),)))
    engine.wait_for(wire.Ready)
    engine.send(wire.Generate(1, prompt, sampling=greedy(12)))
    tokens: list[int] = []
    while len(tokens) < 12:
        tokens += engine.wait_for(wire.Tokens).rows[0].tokens
    assert tokens == adapted
