"""Any text at all is settings, or a ConfigError with a place inside the text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fastmlx.config.document
import pytest
import yaml
from fastmlx.config.load import ConfigError, load
from hypothesis import given, settings
from hypothesis import strategies as st

FILE = Path("/somewhere/config.yaml")
ENVIRON = {"SET": "value", "EMPTY": "", "NUMBER": "12", "ODD": "a: [\udcff"}

PIECES = st.sampled_from(
    [
        *["server", "port", "models", "demo", "path", "aliases", "sampling", "cache", "hot", "x"],
        *[": ", ":", "\n", "\n  ", "\n    ", "- ", "{", "}", "[", "]", ", ", "#", "'", '"', "|\n"],
        *["&a ", "*a", "<<: ", "!!str ", "? ", "---\n", "...\n", "%YAML 1.1\n", "\t", "\r\n", "\r"],
        *["${SET}", "${NUMBER}", "${UNSET}", "${UNSET:-7}", "${ODD}", "${", "$${", "\\", "\\0"],
        *["25%", "4GiB", "15m", "never", "null", "true", "1e999", "9" * 5000, "0x1F", "-1", ".nan"],
        *["é", "🎉", "\u2028", "\x85", "\0", "\ufeff", "\ud800", "~", "~root/", "./", "../"],
    ]
)


@pytest.fixture(params=["libyaml", "python"], autouse=True, scope="module")
def parser(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both of PyYAML's parsers: which one is there depends on how it was built."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.setattr(fastmlx.config.document, "_LOADER", yaml.SafeLoader)
        yield


def check(text: str) -> None:
    try:
        load(text, FILE, ENVIRON)
    except ConfigError as error:
        shown = text.removeprefix("\ufeff")
        lines = shown.split("\n")
        assert error.line is not None
        assert error.column is not None
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
        assert error.message
        assert "\n" not in str(error)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_is_settings_or_a_located_error(text: str) -> None:
    check(text)


@settings(max_examples=600, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_text_that_resembles_yaml_is_settings_or_a_located_error(text: str) -> None:
    check(text)


VALUES = st.sampled_from(
    [
        "null",
        "yes",
        "5",
        "-1",
        "1.5",
        "x",
        "''",
        "[]",
        "[a, b]",
        "{}",
        "{a: 1}",
        "25%",
        "1GiB",
        "5m",
    ]
)
KEYS = st.sampled_from(
    [
        "path",
        "aliases",
        "context",
        "sampling",
        "draft",
        "kv_cache",
        "pinned",
        "idle_timeout",
        "kind",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, VALUES), st.sampled_from(["models", "server", "cache", "zzz"]))
def test_any_value_of_any_key_is_settings_or_a_located_error(
    entry: dict[str, str], section: str
) -> None:
    check(f"{section}:\n  demo:\n" + "".join(f"    {k}: {v}\n" for k, v in entry.items()))
