"""One change of config.yaml is one change: nothing else moves, and no comment is lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastmlx.config.edit import Change, EditError, edited, renamed, written
from fastmlx.config.emit import Written
from fastmlx.config.load import load
from hypothesis import assume, given
from hypothesis import strategies as st

FILE = Path("/somewhere/config.yaml")
DEFAULT = (Path(__file__).parents[2] / "config" / "default.yaml").read_text()

ODD = """\
# on top
server: {port: 6590, host: '127.0.0.1'}   # in braces
defaults:
    # above idle_timeout
    idle_timeout: 15m    # a comment of its own
    max_waiting: 5

models:
    a:   # the first
        path: "org/a"
        aliases:
            - one   # for X
            # between
            - 'two'
        system_prompt: |
            Be # brief.

            Be kind.

        sampling: {temperature: 0.5, top_p: 0.9}
        # last of a

    # before b
    b: {path: org/b, aliases: [x, y]}
    c:
        path: org/c
        sampling:
            top_k: 5
        chat_template_args:
            deep: {er: [1, 2]}
# at the end
"""


def change(text: str, *keys: str, value: Any) -> str:
    return edited(text, [Change(keys, value)])


@pytest.mark.parametrize(
    ("keys", "value", "old", "new"),
    [
        (("server", "port"), 7000, "port: 6590,", "port: 7000,"),
        (("server", "host"), None, ", host: '127.0.0.1'}", "}"),
        (("server", "port"), None, "{port: 6590, host", "{host"),
        (("server", "log_level"), "debug", "1'}", "1', log_level: debug}"),
        (("defaults", "idle_timeout"), "1h", "15m  ", "1h  "),
        (("defaults", "idle_timeout"), None, "15m", "null"),
        (("server",), None, "{port: 6590, host: '127.0.0.1'}", "null"),
        (
            ("models", "c", "chat_template_args", "deep", "er"),
            None,
            "        chat_template_args:\n            deep: {er: [1, 2]}\n",
            "",
        ),
        (("defaults", "max_waiting"), None, "    max_waiting: 5\n", ""),
        (("defaults", "max_gap"), "auto", "waiting: 5\n", "waiting: 5\n    max_gap: auto\n"),
        (("models", "a", "path"), "org/d", '"org/a"', "org/d"),
        (("models", "a", "path"), "1:30 ", '"org/a"', "'1:30 '"),
        (("models", "a", "path"), "yes", '"org/a"', "'yes'"),
        (("models", "a", "aliases"), ["one"], "            - 'two'\n", ""),
        (
            ("models", "a", "aliases"),
            ["one", "two", "3"],
            "- 'two'\n",
            "- 'two'\n            - '3'\n",
        ),
        (("models", "a", "sampling", "seed"), 3, "0.9}", "0.9, seed: 3}"),
        (
            ("models", "c", "sampling", "top_k"),
            None,
            "        sampling:\n            top_k: 5\n",
            "",
        ),
        (("models", "c", "pinned"), True, "[1, 2]}\n", "[1, 2]}\n        pinned: true\n"),
        (("models", "b", "aliases"), ["x"], "[x, y]", "[x]"),
        (("models", "b", "kv_cache", "codec"), "none", "y]}", "y], kv_cache: {codec: none}}"),
        (("memory", "limit"), "50%", "# at the end\n", "# at the end\n"),
    ],
)
def test_only_the_place_itself_changes(
    keys: tuple[str, ...], value: Any, old: str, new: str
) -> None:
    assert old in ODD
    result = change(ODD, *keys, value=value)
    if keys[0] != "memory":
        assert result == ODD.replace(old, new, 1)
    else:
        assert result.replace("memory:\n    limit: 50%\n", "") == ODD


def test_texts_of_several_lines_are_blocks() -> None:
    text = "models:\n  a:\n    path: x   # why\n    pinned: true\n"
    many = change(text, "models", "a", "system_prompt", value="Be brief.\n\n  Be kind.\n")
    assert many.endswith("    system_prompt: |\n      Be brief.\n\n        Be kind.\n")
    one = change(many, "models", "a", "system_prompt", value="Be brief.")
    assert one.endswith("    system_prompt: Be brief.\n")
    assert change(one, "models", "a", "system_prompt", value=None) == text


def test_what_a_person_typed_is_kept_as_typed() -> None:
    text = "models:\n  a:\n    path: x\n    chat_template_args: {a: 1}   # old\n    pinned: true\n"
    typed = Written("# why\nenable_thinking: false\nlevels: [1, 2]  # odd\n")
    result = change(text, "models", "a", "chat_template_args", value=typed)
    assert result == (
        "models:\n  a:\n    path: x\n    chat_template_args:  # old\n      # why\n"
        "      enable_thinking: false\n      levels: [1, 2]  # odd\n    pinned: true\n"
    )
    back = change(result, "models", "a", "chat_template_args", value=Written("{a: 2}"))
    assert "    chat_template_args: {a: 2}  # old\n    pinned: true\n" in back
    assert "# why" in back
    assert "# odd" in back
    with pytest.raises(EditError):
        change(text, "models", "a", "chat_template_args", value=Written("{a: 2"))


def test_an_entry_is_added_and_removed_again() -> None:
    for text in (
        DEFAULT,
        ODD,
        "",
        "# nothing\n",
        "models:\n",
        "models: {}\n",
        "models: ~  # none\n",
    ):
        entry = {"path": "./x", "aliases": ["a b", "*"], "sampling": {"top_k": 4}}
        added = change(text, "models", "new", value=entry)
        assert load(added, FILE).models["new"].sampling.top_k == 4
        removed = change(added, "models", "new", value=None)
        assert (written(removed).get("models") or {}) == (written(text).get("models") or {})
        if "{" not in text.split("models:")[-1][:5] and text and "~" not in text:
            assert removed.replace("models:\n", "") == text.replace("models:\n", "")


def test_a_reset_key_of_the_default_file_keeps_its_comment() -> None:
    result = change(DEFAULT, "server", "port", value=None)
    assert "port: null                # M-L-X on a phone's keypad" in result
    assert load(result, FILE).server.port == 6590


def test_line_ends_and_the_byte_order_mark_stay() -> None:
    text = "\ufeffserver:\r\n  port: 1\r\n"
    result = edited(text, [Change(("server", "host"), "::1"), Change(("models", "a", "path"), "x")])
    assert result == (
        "\ufeffserver:\r\n  port: 1\r\n  host: '::1'\r\nmodels:\r\n  a:\r\n    path: x\r\n"
    )


def test_without_a_last_line_break() -> None:
    assert change("server:\n  port: 1", "server", "host", value="x") == (
        "server:\n  port: 1\n  host: x\n"
    )


def test_what_stands_behind_an_alias_or_a_merge_is_not_changed_for_others() -> None:
    text = (
        "models:\n  a: &a\n    path: x\n    pinned: true\n  b:\n    <<: *a\n    path: y\n  c: *a\n"
    )
    with pytest.raises(EditError, match="alias"):
        change(text, "models", "c", "pinned", value=False)
    result = change(text, "models", "b", "pinned", value=None)
    assert written(result)["models"]["b"] == {"path": "y", "pinned": None}
    assert written(result)["models"]["a"]["pinned"] is True
    with pytest.raises(EditError):
        change(text, "models", "a", value=None)
    assert written(change(text, "models", "c", value=None))["models"].keys() == {"a", "b"}


def test_an_entry_is_renamed_in_its_place() -> None:
    result = renamed(ODD, ("models", "a"), "7b")
    assert result == ODD.replace("    a:   #", "    7b:   #")
    assert list(written(result)["models"]) == ["7b", "b", "c"]
    for wrong in (("models", "zzz"), ("models",)):
        with pytest.raises(EditError):
            renamed(ODD, wrong, "models" if len(wrong) == 1 else "x")
    with pytest.raises(EditError):
        renamed(ODD, ("models", "a"), "b")


SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False, width=32).filter(lambda x: abs(x) < 1e15),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.lists(st.sampled_from(["a: b", "# no", "- x", "", " y ", "'", "é\n"]), max_size=4).map(
        "\n".join
    ),
    st.sampled_from(["15m", "25%", "%", "@a", "`", "${HOME}", "null", "~", "on"]),
    st.sampled_from(["a: b", "#x", "x #y", "- a", "*x", "&x"]),
)
VALUES = st.one_of(
    st.none(),
    SCALARS,
    st.lists(st.text(max_size=10), max_size=5),
    st.dictionaries(st.text(max_size=8), SCALARS, max_size=3),
)
PLACES = st.sampled_from(
    [
        ("server", "port"),
        ("server", "log_level"),
        ("defaults", "idle_timeout"),
        ("discover",),
        ("cache", "hot"),
        ("models", "a"),
        ("models", "a", "path"),
        ("models", "a", "aliases"),
        ("models", "a", "system_prompt"),
        ("models", "a", "sampling"),
        ("models", "a", "sampling", "top_p"),
        ("models", "b", "aliases"),
        ("models", "b", "sampling", "top_k"),
        ("models", "c", "sampling", "top_k"),
        ("models", "c", "chat_template_args"),
        ("models", "demo", "preload"),
        ("models", "new", "path"),
        ("models", "9: #"),
    ]
)


def at(tree: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


@given(st.sampled_from([ODD, DEFAULT]), st.lists(st.tuples(PLACES, VALUES), max_size=4))
def test_any_change_is_made_or_refused_and_nothing_else_moves(
    text: str, changes: list[tuple[tuple[str, ...], Any]]
) -> None:
    # Only these: lines of a value may begin with # as well.
    comments = [line.strip() for line in text.splitlines() if line.strip().startswith("#")]
    for keys, value in changes:
        try:
            result = change(text, *keys, value=value)
        except EditError as error:
            # Only what YAML forbids, and mappings that earlier changes have made something else.
            assert re.search("not allowed|is not a mapping|must not|characters", str(error)), error
            continue
        got, before = written(result), written(text)
        found = at(got, keys)
        assert found == (list(value) if isinstance(value, tuple) else value) or not (found or value)
        for section in before:
            if section != keys[0]:
                assert got[section] == before[section]
        for name, spec in (before.get("models") or {}).items():
            if ("models", name) != keys[:2] and keys != ("models",):
                assert got["models"][name] == spec
        assert list(got)[: len(before)] == list(before) or value is None
        for comment in comments:
            if comment in text and len(keys) > 2 and value is not None:
                assert comment in result
        text = result


@given(VALUES)
def test_a_change_that_is_taken_back_leaves_the_text_as_it_was(value: Any) -> None:
    assume(value not in (None, {}))
    try:
        there = change(ODD, "models", "c", "revision", value=value)
    except EditError:
        return
    assert change(there, "models", "c", "revision", value=None) == ODD
