"""Names that clients ask for → the entry that answers."""

from __future__ import annotations

from pathlib import Path

from fastmlx.config.load import load

TEXT = """\
models:
  big: {path: a/b, aliases: ["claude-*", "gpt-4o"]}
  small: {path: a/c, aliases: ["claude-haiku-*", claude-sonnet]}
"""
SETTINGS = load(TEXT, Path("/home/ann/.fastmlx/config.yaml"), {})


def found(name: str) -> str | None:
    declared = SETTINGS.find(name)
    return declared and declared.name


def test_a_star_stands_for_any_text() -> None:
    assert found("claude-opus-5-5") == "big"
    assert found("claude-") == "big"
    assert found("claude") is None
    assert found("my-claude-opus") is None
    assert found("gpt-4o") == "big"
    assert found("gpt-4o-mini") is None


def test_a_whole_name_goes_before_a_pattern_and_the_first_pattern_wins() -> None:
    assert found("claude-sonnet") == "small"
    assert found("claude-haiku-5") == "big"
    assert found("claude-*") == "big", "the alias as it is written"
