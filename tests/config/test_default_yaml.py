"""The commented file of the first start tells the truth about every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_origin

import fastmlx.config.load
import pytest
from fastmlx.config.document import Table, parse
from fastmlx.config.load import load
from fastmlx.config.settings import ModelSpec, Settings
from pydantic import BaseModel

FILE = Path("/somewhere/config.yaml")
TEXT = Path(fastmlx.config.load.__file__).with_name("default.yaml").read_text()
# The example entry, with its comment signs taken away as the file says.
FULL = re.sub(r"^  # (?=  |qwen3-8b:)", "  ", TEXT, flags=re.MULTILINE)


def test_it_means_the_defaults_and_the_demo_model() -> None:
    settings = load(TEXT, FILE, {})
    assert settings == Settings(models={"demo": ModelSpec(path="builtin:demo")})


def test_its_example_is_valid_and_every_key_of_it_is_the_default() -> None:
    example = load(FULL, FILE, {}).models["qwen3-8b"]
    assert example == ModelSpec(path=example.path, aliases=example.aliases)


def keys(cls: type[BaseModel], prefix: str) -> list[str]:
    found = []
    for name, field in cls.model_fields.items():
        found.append(f"{prefix}{name}")
        kind = field.annotation
        if get_origin(kind) is dict:
            kind, name = get_args(kind)[1], f"{name}.qwen3-8b"
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += keys(kind, f"{prefix}{name}.")
    return found


@pytest.mark.parametrize("key", keys(Settings, ""))
def test_every_key_stands_in_it_with_a_comment(key: str) -> None:
    node = parse(FULL)
    start = 0
    for part in key.split("."):
        assert isinstance(node, Table), f"{key} is missing from default.yaml"
        assert part in node.entries, f"{key} is missing from default.yaml"
        start = node.entries[part].key_start
        node = node.entries[part].value
    lines = FULL[:start].count("\n")
    line = FULL.splitlines()[lines]
    above = FULL.splitlines()[lines - 1]
    is_commented = "#" in line or above.lstrip().startswith("#") or isinstance(node, Table)
    assert is_commented, f"{key} has no comment in default.yaml"
