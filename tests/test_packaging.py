"""The wheel: every package, and every file that is no Python but is needed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("admin", "config", "daemon", "launchd", "migrations")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# What git keeps of the repository but the wheel does not carry: only what trains the demo model.
LEFT_OUT = ("daemon/demo/corpus/",)


def tracked() -> list[str]:
    """Files that git keeps, of the five folders; what merely lies about is not asked for."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()]
    assert len(names) > 100
    return names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in the built wheel. Built from a copy: setuptools leaves a build folder behind."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in files.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--quiet", "--wheel-dir", str(built), str(source)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (file,) = built.glob("fastmlx-*.whl")
    with zipfile.ZipFile(file) as archive:
        return set(archive.namelist())


def test_every_package_is_in_the_list():
    """setuptools is told them one by one; a forgotten one is missing only once installed."""
    packages = {
        "fastmlx." + str(Path(name).parent).replace("/", ".")
        for name in tracked()
        if name.endswith(".py") and not name.startswith(LEFT_OUT)
    }
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert set(listed) == packages
    assert listed == sorted(listed)


def test_every_folder_with_python_is_a_package():
    folders = {Path(name).parent for name in tracked() if name.endswith(".py")}
    without = [str(folder) for folder in folders if not (ROOT / folder / "__init__.py").exists()]
    assert without == []


def test_the_wheel_carries_every_file_of_the_five_folders(wheel):
    wanted = {f"fastmlx/{name}" for name in tracked() if not name.startswith(LEFT_OUT)}
    assert sorted(wanted - wheel) == []


@pytest.mark.parametrize(
    "name",
    [
        "fastmlx/config/default.yaml",
        "fastmlx/admin/static/htmx.min.js",
        "fastmlx/daemon/demo/model/config.json",
        "fastmlx/daemon/demo/model/model.safetensors",
        "fastmlx/daemon/demo/model/tokenizer.json",
        "fastmlx/daemon/demo/model/chat_template.jinja",
    ],
)
def test_the_wheel_carries_what_the_first_start_needs(wheel, name):
    assert name in wheel


def test_the_wheel_carries_nothing_else(wheel):
    strangers = [
        name
        for name in wheel
        if not name.startswith(tuple(f"fastmlx/{folder}/" for folder in FOLDERS))
        and ".dist-info/" not in name
    ]
    assert strangers == []


@pytest.mark.parametrize(
    ("name", "last"), [("serve", "fastmlx serve"), ("test", "pytest -n 2 --dist loadfile")]
)
def test_the_readme_has_the_commands_that_ci_takes_from_it(name, last):
    """.ci/serve and .ci/run find them by these marks and run them as they stand."""
    install = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]'"
    block = f"<!-- command: {name} -->\n```sh\n{install} && .venv/bin/{last}\n```\n"
    assert (ROOT / "README.md").read_text().count(block) == 1


def test_the_wheel_has_the_command_and_the_licence(wheel):
    assert any(name.endswith("dist-info/entry_points.txt") for name in wheel)
    assert any(name.endswith("/LICENSE") for name in wheel)
    assert PROJECT["project"]["scripts"] == {"fastmlx": "fastmlx.daemon.cli:main"}
