"""The README names what exists: settings, commands, routes, pictures, scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from fastmlx.config.settings import ModelSpec, Settings
from fastmlx.daemon.cli import VERBS
from pydantic import BaseModel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    """("server.", "port") and so on; models' entries stand under "models.NAME."."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and model is Settings:
            yield from keys(kind, f"{prefix}{name}.")
        elif name != "models":
            yield prefix, name


@pytest.mark.parametrize(
    ("prefix", "name"), [*keys(Settings, ""), *keys(ModelSpec, "models.NAME.")]
)
def test_every_setting_stands_in_the_configuration_table(prefix: str, name: str) -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `")]
    section = [row for row in rows if prefix in row] if prefix else rows
    assert any(re.search(rf"[`.]{name}`", row) for row in section), f"{prefix}{name}"


def test_every_command_stands_in_the_readme() -> None:
    for verb in VERBS:
        assert re.search(rf"`(fastmlx )?{verb}\b", README), verb


def test_every_link_and_picture_leads_to_a_file() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_every_file_that_the_readme_names_exists() -> None:
    for name in re.findall(r"`((?:daemon|config|bench|tests|launchd|admin)/[\w./]+)`", README):
        assert (ROOT / name).exists(), name


def test_every_benchmark_stands_in_the_readme() -> None:
    for script in (ROOT / "bench").glob("*.py"):
        if '__name__ == "__main__"' in script.read_text():
            assert f"bench/{script.name}" in README, script.name


def test_the_two_commands_are_marked_for_scripts() -> None:
    for name in ("serve", "test"):
        assert re.search(rf"<!-- command: {name} -->\n```sh\n.+\n```", README), name


def test_every_architecture_of_mlx_lm_stands_in_the_table() -> None:
    """`bench/architectures.py --markdown` makes it, from what runs."""
    section = README.partition("## Architectures")[2].partition("## Measured")[0]
    table = "".join(line for line in section.splitlines() if line.startswith("|"))
    (measured,) = re.findall(r"Every model file of mlx-lm ([\d.]*\d)", section)
    if version("mlx-lm") != measured:
        pytest.skip(f"the table is of mlx-lm {measured}")
    package = find_spec("mlx_lm")
    assert package is not None
    assert package.submodule_search_locations
    files = Path(package.submodule_search_locations[0], "models").glob("*.py")
    models = {f.stem for f in files if re.search(r"^class Model\(|^Model = ", f.read_text(), re.M)}
    assert len(models) > 100
    assert not models - set(re.findall(r"[\w-]+", table))
