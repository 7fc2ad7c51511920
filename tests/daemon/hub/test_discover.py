"""What `discover:` finds on this machine, and what it makes of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from fastmlx.config.settings import ModelSpec, Settings
from fastmlx.daemon.cli import main
from fastmlx.daemon.hub import places
from fastmlx.daemon.hub.discover import Scanner, Survey, free_name
from folders import write_model
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a Hub cache that are empty."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub").mkdir()
    return tmp_path


def add_snapshot(cache: Path, id: str, commit: str = COMMIT, *, ref: str | None = "main") -> Path:
    repository = cache / f"models--{id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    if ref is not None:
        (repository / "refs" / ref).write_text(commit)
    return write_model(repository / "snapshots" / commit)


async def survey(*discover: str, **models: ModelSpec) -> Survey:
    return await Scanner().survey(Settings(discover=discover, models=models))


async def test_all_three_kinds_of_places_are_looked_at(machine: Path):
    add_snapshot(machine / "hub", "org/Model-4bit")
    write_model(machine / ".lmstudio/models/publisher/Other_Model")
    write_model(machine / "mine/deep/er/third", quantization={"bits": 4, "group_size": 64})
    found = await survey("huggingface", "lmstudio", str(machine / "mine"))
    assert found.problems == {}
    hub, studio, mine = found.candidates
    assert (hub.name, hub.path, hub.source) == ("model-4bit", "org/Model-4bit", "huggingface")
    assert (studio.name, studio.path) == (
        "other_model",
        str(machine / ".lmstudio/models/publisher/Other_Model"),
    )
    assert (mine.source, mine.quantization, mine.kind) == (
        str(machine / "mine"),
        "4-bit, group 64",
        "text",
    )
    for each in found.candidates:
        assert (each.problem, each.declared, each.weights_bytes) == (None, None, 1000)
        assert each.needs_bytes is not None
        assert each.needs_bytes > 1000


async def test_what_is_no_mlx_model_is_left_out_and_what_is_damaged_says_so(machine: Path):
    (write_model(machine / "a/torch") / "model.safetensors").rename(machine / "a/torch/x.bin")
    (machine / "a/gguf").mkdir()
    (machine / "a/gguf/model.gguf").touch()
    (write_model(machine / "a/.hidden/model")).touch()
    (write_model(machine / "a/cut") / "model.safetensors").write_bytes(b"x")
    (candidate,) = (await survey(str(machine / "a"))).candidates
    assert candidate.name == "cut"
    assert "is damaged" in str(candidate.problem)
    assert candidate.needs_bytes is None


async def test_a_snapshot_that_no_branch_names_is_found_with_its_commit(machine: Path):
    add_snapshot(machine / "hub", "org/a", "f" * 40, ref=None)
    (candidate,) = (await survey("huggingface")).candidates
    assert (candidate.path, candidate.revision) == ("org/a", "f" * 40)


async def test_the_hub_s_cache_may_lie_elsewhere_and_be_listed(machine: Path):
    folder = add_snapshot(machine / "disk", "org/Big")
    (candidate,) = (await survey(str(machine / "disk"))).candidates
    assert (candidate.name, candidate.path) == ("big", str(folder))


async def test_a_folder_that_two_places_lead_to_is_one_candidate(machine: Path):
    write_model(machine / "mine/one")
    (machine / "mine/loop").symlink_to(machine / "mine")
    found = await survey(str(machine / "mine"), str(machine / "mine/one"))
    assert [each.name for each in found.candidates] == ["one"]


async def test_what_is_declared_is_said_to_be(machine: Path):
    add_snapshot(machine / "hub", "org/a")
    write_model(machine / "mine/b")
    found = await survey(
        "huggingface",
        str(machine / "mine"),
        first=ModelSpec(path="org/a"),
        second=ModelSpec(path=str(machine / "mine/b")),
        b=ModelSpec(path="org/elsewhere", aliases=("a",)),
    )
    assert [each.declared for each in found.candidates] == ["first", "second"]
    assert [each.name for each in found.candidates] == ["a-2", "b-2"]


async def test_places_that_are_missing_matter_only_when_they_are_listed(machine: Path):
    (machine / "hub").rmdir()
    (machine / "file").touch()
    listed = [str(machine / name) for name in ("nowhere", "file")]
    found = await survey("huggingface", "lmstudio", *listed)
    assert found.candidates == []
    assert set(found.problems) == set(listed)
    assert found.problems[listed[0]] == "does not exist"


async def test_a_folder_that_changes_is_read_again_and_others_are_not(
    machine: Path, monkeypatch: pytest.MonkeyPatch
):
    from fastmlx.daemon.hub import discover

    read: list[str] = []
    real = discover.describe
    monkeypatch.setattr(discover, "describe", lambda f: (read.append(f.name), real(f))[1])
    write_model(machine / "mine/a")
    write_model(machine / "mine/b")
    settings = Settings(discover=(str(machine / "mine"),))
    scanner = Scanner()
    first = await scanner.survey(settings)
    assert await scanner.survey(settings) == first
    assert read == ["a", "b"]
    write_model(machine / "mine/b", weights_bytes=2000)
    second = await scanner.survey(settings)
    assert [each.weights_bytes for each in second.candidates] == [1000, 2000]
    assert read == ["a", "b", "b"]


async def test_a_disk_that_hangs_holds_up_nobody_and_keeps_what_was_known(
    machine: Path, monkeypatch: pytest.MonkeyPatch
):
    write_model(machine / "slow/a")
    write_model(machine / "good/b")
    settings = Settings(discover=(str(machine / "slow"), str(machine / "good")))
    scanner = Scanner(timeout_s=0.3)
    while len((await scanner.survey(settings)).candidates) < 2:
        pass
    wakes = threading.Event()
    looks: list[Path] = []
    real = places._below

    def below(root: Path):
        looks.append(root)
        if root.name == "slow":
            wakes.wait(60)
        return real(root)

    monkeypatch.setattr(places, "_below", below)
    for _ in range(2):
        found = await scanner.survey(settings)
        assert "did not answer" in found.problems[str(machine / "slow")]
        assert "a" in [each.name for each in found.candidates]
    assert looks.count(machine / "slow") == 1
    wakes.set()
    while (await scanner.survey(settings)).problems:
        pass


def test_list_all_shows_them_without_a_daemon(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("FASTMLX_HOME", str(machine / "home"))
    (machine / "home").mkdir()
    (machine / "home/config.yaml").write_text(
        f"discover: [{machine}/mine, /nowhere/at/all]\nmodels: {{demo: {{path: 'builtin:demo'}}}}\n"
        "memory: {limit: 1GiB}\n"
    )
    write_model(machine / "mine/Small")
    write_model(machine / "mine/huge", weights_bytes=1 << 40)
    assert main(["list", "--all"]) == 0
    shown = capsys.readouterr().out
    assert "demo" in shown
    assert "/nowhere/at/all does not exist" in shown
    assert main(["list", "--all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {c["name"]: c["fits"] for c in found["candidates"]} == {"small": True, "huge": False}


@given(title=st.text(max_size=300), taken=st.sets(st.sampled_from(["model", "model-2", "a"])))
def test_every_name_is_free_and_one_that_config_yaml_accepts(title: str, taken: set[str]):
    name = free_name(title, taken)
    assert name not in taken
    try:
        Settings(models={name: ModelSpec(path="a/b")})
    except ValidationError as error:
        raise AssertionError(name) from error
