"""`adapters:` of a model: always applied, or chosen by requests under an id of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.config.errors import ConfigError
from fastmlx.config.load import load

FILE = Path("/home/ann/.fastmlx/config.yaml")


def adapters_of(value: str):
    return load(f"models:\n  m: {{path: a/b, adapters: {value}}}\n", FILE, {}).models["m"]


def test_a_text_is_always_applied_and_a_name_is_chosen() -> None:
    spec = adapters_of("[./style, {name: sql, path: ~/sql}, {name: law, path: org/law}]")
    assert spec.always_adapters == ("/home/ann/.fastmlx/style",)
    assert spec.named_adapters == {"sql": str(Path.home() / "sql"), "law": "org/law"}


def test_one_adapter_needs_no_list() -> None:
    assert adapters_of("org/one").always_adapters == ("org/one",)
    assert adapters_of("{name: sql, path: org/sql}").named_adapters == {"sql": "org/sql"}


def test_the_id_of_an_adapter_finds_its_entry() -> None:
    text = "models:\n  m: {path: a/b, aliases: [other], adapters: [{name: sql, path: org/sql}]}\n"
    settings = load(text, FILE, {})
    spec = settings.models["m"]
    assert settings.find("m:sql") == ("m", spec)
    assert spec.adapter_asked("m", "m:sql") == "sql"
    assert spec.adapter_asked("m", "m") is None
    assert settings.find("m:none") is None
    assert settings.find("other:sql") is None


@pytest.mark.parametrize(
    ("value", "key", "said"),
    [
        ("[5]", "models.m.adapters[0]", "must be a folder, or {name: NAME, path: FOLDER}"),
        ("['']", "models.m.adapters[0]", "must not be empty"),
        ("[{name: sql}]", "models.m.adapters[0].path", "is missing"),
        ("[{name: 'a:b', path: x/y}]", "models.m.adapters[0].name", "cannot be an adapter's name"),
        ("[{nam: sql, path: x/y}]", "models.m.adapters[0].nam", "unknown key"),
        (
            "[{name: sql, path: x/y}, {name: sql, path: x/z}]",
            "models.m.adapters[1].name",
            "'m:sql' is already the name of something else",
        ),
    ],
)
def test_mistakes_are_found_where_they_are(value: str, key: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        adapters_of(value)
    assert caught.value.key == key
    assert said in caught.value.message
    assert caught.value.line == 2


def test_an_adapters_id_may_not_be_another_models_name() -> None:
    text = "models:\n  'm:sql': {path: a/b}\n  m: {path: a/b, adapters: [{name: sql, path: c/d}]}\n"
    with pytest.raises(ConfigError, match="'m:sql' is already the name") as caught:
        load(text, FILE, {})
    assert caught.value.line == 3


def test_a_misspelt_key_of_an_adapter_gets_a_hint() -> None:
    with pytest.raises(ConfigError) as caught:
        adapters_of("[{nam: sql, path: x/y}]")
    assert caught.value.hint == "did you mean 'name'?"
