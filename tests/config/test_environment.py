"""FASTMLX_… variables go before the file, and their mistakes name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastmlx.config.load import ConfigError, load
from fastmlx.config.settings import Settings
from fastmlx.config.units import Size

FILE = Path("/somewhere/config.yaml")


def error_of(text: str, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(text, FILE, environ)
    return caught.value


def test_variables_go_before_the_file_key_by_key() -> None:
    text = "server: {port: 1, host: from-file}\ncache: {hot: 1GiB}"
    environ = {
        "FASTMLX_SERVER__PORT": "8000",
        "FASTMLX_SERVER__ADMIN": "false",
        "fastmlx_server__log_level": "debug",
        "FASTMLX_CACHE__COLD": "0",
        "FASTMLX_CACHE__DIRECTORY": "ssd",
        "FASTMLX_MEMORY__LIMIT": "50%",
        "FASTMLX_DEFAULTS__IDLE_TIMEOUT": "never",
    }
    settings = load(text, FILE, environ)
    assert settings.server.port == 8000
    assert settings.server.host == "from-file"
    assert settings.server.admin is False
    assert settings.server.log_level == "debug"
    assert settings.cache.hot == Size(num_bytes=1 << 30)
    assert settings.cache.cold.is_zero
    assert settings.cache.directory == Path("/somewhere/ssd")
    assert settings.memory.limit == Size(percent=50)
    assert settings.defaults.idle_timeout == float("inf")


@pytest.mark.parametrize("text", ['["http://a", "http://b"]', "http://a, http://b"])
def test_lists_are_json_or_have_commas(text: str) -> None:
    settings = load("", FILE, {"FASTMLX_SERVER__CORS_ORIGINS": text})
    assert settings.server.cors_origins == ("http://a", "http://b")


def test_where_to_look_may_be_a_list_too() -> None:
    settings = load("", FILE, {"FASTMLX_DISCOVER": "lmstudio,./models"})
    assert settings.discover == ("lmstudio", "/somewhere/models")


def test_a_section_may_be_json() -> None:
    environ = {"FASTMLX_SERVER": '{"port": 7, "host": "h"}', "FASTMLX_SERVER__HOST": "i"}
    server = load("server: {log_level: error}", FILE, environ).server
    assert (server.port, server.host, server.log_level) == (7, "i", "error")


def test_a_wrong_value_in_the_file_does_not_matter_when_it_is_overridden() -> None:
    settings = load("server: {port: many}", FILE, {"FASTMLX_SERVER__PORT": "8"})
    assert settings.server.port == 8


def test_empty_variables_and_those_of_others_are_nothing() -> None:
    environ = {"FASTMLX_HOME": "/x", "FASTMLX_SERVER__PORT": "", "FASTMLX": "x", "PORT": "1"}
    assert load("", FILE, environ) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "message", "hint"),
    [
        ("FASTMLX_SERVER__PORT", "many", "must be a whole number, not 'many'", None),
        ("FASTMLX_SERVER__PROT", "1", "unknown key", "did you mean 'port'?"),
        ("FASTMLX_SERVR__PORT", "1", "names no setting", "did you mean 'server'?"),
        ("FASTMLX_MODELS__A__PATH", "x", "names no setting", "in config.yaml only"),
        ("FASTMLX_SERVER", "[[[", "must be a mapping", None),
        ("FASTMLX_SERVER", "[" * 100_000, "must be a mapping", None),
        ("FASTMLX_SERVER__PORT__X", "1", "must be a whole number", None),
        ("FASTMLX_CACHE__DIRECTORY", "~nobody-here/x", "no user", None),
        ("FASTMLX_MEMORY__LIMIT", "12", "needs a unit", None),
    ],
)
def test_a_mistake_names_the_variable(
    name: str, value: str, message: str, hint: str | None
) -> None:
    error = error_of("server: {host: h}", **{name: value})
    assert error.key == name
    assert error.line is None
    assert message in error.message
    assert hint is None or hint in (error.hint or "")
    assert str(error).startswith(f"config.yaml: {name}: ")


def test_a_mistake_of_the_file_keeps_its_place_beside_variables() -> None:
    assert error_of("server: 3", FASTMLX_SERVER__PORT="8000").line == 1
    assert error_of("server: {prot: 3}", FASTMLX_SERVER__PORT="8000").column == 10
    assert error_of("server: {port: 1, port: 2}", FASTMLX_SERVER__PORT="8000").column == 19
