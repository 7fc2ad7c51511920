"""One model in two processes: the same answers as in one, and one end for both."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from engine_process import Engine, gone
from engines import alone, assert_same, core_at, greedy, run, tokens_of
from fastmlx.daemon.engine.ranks import launch
from fastmlx.daemon.engine.ranks.split import fault
from fastmlx.daemon.protocol import wire
from fastmlx.daemon.protocol.sampling import Sampling

HERE = "127.0.0.1"
PROMPTS = [[1, 2, 3, 4, 5], [7] * 40, [1 + i % 900 for i in range(600)], [9]]


@pytest.fixture
def engine() -> Iterator[Engine]:
    started = Engine()
    yield started
    started.close()


def load_split(
    engine: Engine,
    folder: Path,
    mode: str,
    hosts: tuple[str, ...] = (HERE, HERE),
    hot_bytes: int = 0,
) -> wire.Ready | wire.LoadFailed:
    group = wire.Distributed(hosts, mode)
    engine.send(wire.Load("m", str(folder), hot_bytes=hot_bytes, distributed=group))
    for message in engine.messages():
        if isinstance(message, wire.Ready | wire.LoadFailed):
            return message
    raise AssertionError("the engine ended without a word")


def answers(
    engine: Engine, requests: list[wire.Generate], cached: dict[int, int] | None = None
) -> dict[int, list[int]]:
    """All tokens of the requests, which are sent one after the other while the first ones run, and
    in `cached` how many of each one's prompt were known."""
    waiting = list(requests)
    engine.send(waiting.pop(0))
    tokens: dict[int, list[int]] = {}
    unfinished = len(requests)
    for message in engine.messages():
        if isinstance(message, wire.Tokens):
            for row in message.rows:
                if cached is not None and row.id not in tokens:
                    cached[row.id] = row.cached_tokens
                tokens.setdefault(row.id, []).extend(row.tokens)
                unfinished -= row.finish is not None
            if waiting:
                engine.send(waiting.pop(0))
        if not unfinished:
            break
    return tokens


def assert_conversations_go_on(engine: Engine, folder: Path) -> None:
    """There is memory for some of them, so that each rank evicts."""
    talks = [[*range(head, head + 96)] for head in (100, 300, 500)]
    cached: dict[int, int] = {}
    for turn in range(3):
        first = 100 + 10 * turn
        requests = [wire.Generate(first + i, t, sampling=greedy(6)) for i, t in enumerate(talks)]
        other = [*talks[turn][:80], *range(700, 712)]
        requests.append(wire.Generate(first + 9, other, sampling=greedy(6)))
        got = answers(engine, requests, cached)
        for request in requests:
            assert_same(got[request.id], *alone(folder, request.prompt, 6))
        talks = [[*t, *got[first + i], *range(720, 729)] for i, t in enumerate(talks)]
    assert sum(cached.values()) > 96
    engine.send(wire.ClearCache(hot=True, cold=True))
    engine.send(wire.CacheLimits(1 << 30, 1 << 30))
    last = wire.Generate(150, talks[2], sampling=greedy(6))
    for known in (0, len(talks[2]) - 1):
        assert_same(answers(engine, [last], cached)[150], *alone(folder, talks[2], 6))
        assert cached[150] == known


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@pytest.mark.parametrize(("arch", "mode"), [("qwen3_5", "tensor"), ("deepseek_v3", "pipeline")])
def test_two_processes_answer_what_one_does_rest_when_idle_and_end(
    engine: Engine, tiny_model: Callable[..., Path], arch: str, mode: str
) -> None:
    folder = tiny_model(arch)
    hot_bytes = 300_000 if arch == "qwen3_5" else 220_000  # for two conversations, in two ranks
    ready = load_split(engine, folder, mode, hot_bytes=hot_bytes)
    assert isinstance(ready, wire.Ready)
    assert ready.batches
    assert not ready.notes
    assert len(ready.pids) == 2
    assert ready.pids[0] == engine.process.pid
    requests = [wire.Generate(i, p, sampling=greedy(24)) for i, p in enumerate(PROMPTS)]
    dice = Sampling(temperature=0.9, top_p=0.9, seed=5, max_tokens=24, presence_penalty=0.5)
    requests.append(wire.Generate(9, PROMPTS[0], sampling=dice))
    got = answers(engine, requests)
    for i, prompt in enumerate(PROMPTS):
        assert_same(got[i], *alone(folder, prompt, 24))
    assert got[9] == tokens_of(run(core_at(folder), requests[-1:])[9])

    # An abort in mid-prompt and a bad request leave both in step.
    engine.send(wire.Generate(20, PROMPTS[2], sampling=greedy(400)))
    engine.send(wire.Abort(20))
    engine.send(wire.Generate(21, [], sampling=greedy(4)))
    again = answers(engine, [wire.Generate(22, PROMPTS[1], sampling=greedy(24))])
    assert_same(again[22], *alone(folder, PROMPTS[1], 24))

    assert_conversations_go_on(engine, folder)

    time.sleep(0.6)  # the books of the last step are told
    before = [cpu_s(pid) for pid in ready.pids]
    time.sleep(0.5)
    spent = [cpu_s(pid) - start for pid, start in zip(ready.pids, before, strict=True)]
    assert max(spent) < 0.1, "an idle group spins"

    if mode == "tensor":
        engine.send(wire.Stop())
    else:
        engine.socket.close()  # as when the front is killed
    assert engine.process.wait(10) == 0
    assert gone(ready.pids)


def test_when_rank_0_is_killed_no_other_is_left(
    engine: Engine, tiny_model: Callable[..., Path]
) -> None:
    ready = load_split(engine, tiny_model("llama"), "tensor")
    assert isinstance(ready, wire.Ready)
    engine.send(wire.Generate(1, [1, 2, 3], sampling=greedy(4000)))
    engine.wait_for(wire.Tokens)
    engine.process.kill()
    assert gone(ready.pids)


def test_a_rank_on_another_machine_is_started_through_ssh_and_its_end_ends_the_group(
    tiny_model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.1 is this machine again, but not a name of it that we know."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(
        f"#!{shutil.which('sh')}\n"
        f'echo "$@" > {tmp_path / "arguments"}\n'
        'while [ "$1" != -- ]; do shift; done\n'
        'exec sh -c "exec $3"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ssh.parent}{os.pathsep}{os.environ['PATH']}")
    engine = Engine()
    try:
        folder = tiny_model("llama")
        ready = load_split(engine, folder, "tensor", (HERE, "someone@127.1"))
        assert isinstance(ready, wire.Ready)
        assert ready.pids == (engine.process.pid,), "only processes of this machine are counted"
        said = (tmp_path / "arguments").read_text()
        assert f"-- someone@127.1 {sys.executable} -m fastmlx.daemon.engine --rank 1" in said
        got = answers(engine, [wire.Generate(1, PROMPTS[0], sampling=greedy(24))])
        assert_same(got[1], *alone(folder, PROMPTS[0], 24))
        (other,) = psutil.Process(engine.process.pid).children()
        other.send_signal(signal.SIGKILL)
        assert engine.process.wait(10) != 0
        assert engine.process.stderr is not None
        assert "rank 1 of the group was killed by SIGKILL" in engine.process.stderr.read()
    finally:
        engine.close()


def test_a_model_that_cannot_be_split_is_refused_by_name(
    engine: Engine, tiny_model: Callable[..., Path]
) -> None:
    failed = load_split(engine, tiny_model("gemma3_text"), "tensor")
    assert isinstance(failed, wire.LoadFailed)
    assert failed.message == "gemma3_text cannot be split over processes in mode tensor"
    assert engine.process.wait(10) == 1


def test_a_folder_that_only_another_rank_misses_is_its_fault(
    engine: Engine, tmp_path: Path
) -> None:
    failed = load_split(engine, tmp_path / "nothing", "tensor")
    assert isinstance(failed, wire.LoadFailed)
    assert "missing" in failed.message


@pytest.mark.parametrize(
    ("config", "mode", "size", "words"),
    [
        ({"num_attention_heads": 4, "num_key_value_heads": 2}, "tensor", 2, None),
        ({"num_attention_heads": 4, "num_key_value_heads": 2}, "tensor", 4, "num_key_value_heads"),
        ({"num_attention_heads": 4}, "tensor", 3, "num_attention_heads is 4"),
        ({"text_config": {"num_attention_heads": 6}}, "tensor", 4, "num_attention_heads is 6"),
        ({"model_type": "qwen3_5", "num_key_value_heads": 2}, "tensor", 4, None),
        ({"num_hidden_layers": 2}, "pipeline", 3, "2 layers"),
        ({"num_hidden_layers": 3, "num_attention_heads": 5}, "pipeline", 3, None),
    ],
)
def test_heads_and_layers_must_be_divisible(
    config: dict[str, object], mode: str, size: int, words: str | None
) -> None:
    why = fault(config, mode, size, shards=True, pipelines=True)
    assert why is None if words is None else words in (why or "")


def test_the_mode_that_would_work_is_named() -> None:
    why = fault({"model_type": "gpt_oss"}, "pipeline", 2, shards=True, pipelines=False)
    assert why == "gpt_oss cannot be split over processes in mode pipeline; mode tensor it can"


def test_a_rank_here_needs_no_ssh_and_one_elsewhere_may_not_ask_for_a_password() -> None:
    assert launch.command("me@localhost", 1)[0] == sys.executable
    elsewhere = launch.command("me@10.0.0.2", 3)
    assert elsewhere[0] == "ssh"
    assert "BatchMode=yes" in elsewhere
    assert elsewhere[-3:-1] == ["--", "me@10.0.0.2"]
    assert elsewhere[-1].endswith("-m fastmlx.daemon.engine --rank 3")
