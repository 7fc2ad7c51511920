"""Every key carries what documentation, diff and edit form need."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.config.diff import change_class
from fastmlx.config.load import load
from fastmlx.config.mcp import McpSettings
from fastmlx.config.settings import (
    CacheSettings,
    DefaultSettings,
    DraftSpec,
    KVCacheSpec,
    MemorySettings,
    ModelSpec,
    SamplingDefaults,
    ServerSettings,
    Settings,
)
from pydantic import BaseModel, ValidationError

CLASSES = [
    *[Settings, ServerSettings, MemorySettings, CacheSettings, DefaultSettings],
    McpSettings,
    *[ModelSpec, SamplingDefaults, KVCacheSpec, DraftSpec],
]
FIELDS = [(cls, name) for cls in CLASSES for name in cls.model_fields]


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=lambda x: getattr(x, "__name__", x))
def test_every_key_is_described(cls: type[BaseModel], name: str) -> None:
    field = cls.model_fields[name]
    assert field.description
    assert field.description.endswith(".")
    assert change_class(cls, name) in ("live", "reload", "restart")
    assert isinstance(field.json_schema_extra, dict)
    assert "unit" in field.json_schema_extra


def test_only_an_address_and_what_is_built_at_the_start_need_a_restart() -> None:
    keys = {name for cls, name in FIELDS if change_class(cls, name) == "restart"}
    assert keys == {"host", "port", "max_request_size", "admin"}


def test_what_settings_write_they_read_back() -> None:
    text = """
server: {max_request_size: 5MB, drain_timeout: 1s}
memory: {limit: 3GiB}
cache: {directory: /x}
models: {a: {path: x, context: 5, idle_timeout: never, aliases: [b], sampling: {top_k: 3}}}
"""
    settings = load(text, Path("/somewhere/config.yaml"), {})
    assert Settings(**settings.model_dump()) == settings
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_the_largest_gap_is_a_duration_or_auto() -> None:
    written = {"defaults": {"max_gap": "100ms"}, "models": {"a": {"path": "x", "max_gap": "auto"}}}
    settings = Settings(**written)
    assert settings.max_gap_s(settings.models["a"]) is None
    assert settings.max_gap_s(ModelSpec(path="x")) == pytest.approx(0.1)
    assert settings.defaults.model_dump(mode="json")["max_gap"] == "0.1s"
    for wrong in ("never", "0s", 5, "2h", True):
        with pytest.raises(ValidationError, match="auto"):
            DefaultSettings.model_validate({"max_gap": wrong})
