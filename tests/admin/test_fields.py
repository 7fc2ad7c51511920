"""Forms made from the settings: what is typed stands in the file, and nothing else moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastmlx.admin.fields import Field, Kind, changes, fields_of, groups_of, shown, value_of
from fastmlx.config.edit import edited, written
from fastmlx.config.load import check, load
from fastmlx.config.settings import ModelSpec, Settings
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

FILE = Path("/somewhere/config.yaml")
DEFAULT = (Path(__file__).parents[2] / "config" / "default.yaml").read_text()
TEXT = (
    DEFAULT
    + """
  other:   # another one
    path: org/other   # where it is
    # what it is called
    aliases: [a, b]
    sampling:
      temperature: 0.5   # calm
"""
)
MODEL = fields_of(ModelSpec)
REST = fields_of(Settings, ("models",))
ABOVE = ("models", "other")
ALL = [*((ABOVE, field) for field in MODEL), *(((), field) for field in REST)]

PLAIN = st.text("abcXYZ019 .:#'\"-{}[]&*!|>%@`,?é😀=$", min_size=1, max_size=20).filter(
    lambda text: text.strip() and "${" not in text
)
# What the types of values.py accept, where the kind of the input alone does not say it.
SPECIAL: dict[str, st.SearchStrategy[str]] = {
    "path": st.sampled_from(["org/model", "builtin:demo", "/a b/c", "./x", "~/y: z"]),
    "port": st.integers(0, 65535).map(str),
    "top_p": st.sampled_from(["0.1", "1", "0.95", "1e-3"]),
    "min_p": st.sampled_from(["0", "0.05", "1"]),
    "presence_penalty": st.sampled_from(["-2", "0", "1.5"]),
    "frequency_penalty": st.sampled_from(["-2", "0", "1.5"]),
    "adapters": st.sampled_from(["[./a]", "- /x\n- {name: sql, path: /y}  # by name", "/one"]),
    "chat_template_args": st.sampled_from(
        ["{enable_thinking: false}", "a: 1\nb:\n  - x  # deep\n  - y", "'odd key': \"v\""]
    ),
    "max_gap": st.sampled_from(["auto", "100ms", "1s"]),
    "cors_origins": st.sampled_from(["*", "https://a.example\nhttp://localhost:3000"]),
    "hosts": st.sampled_from(["one\ntwo", "a@10.0.0.1\n10.0.0.2\n[::1]"]),
    "processes": st.sampled_from(["2", "64"]),
    "drain_timeout": st.sampled_from(["1s", "1h"]),
    "timeout": st.sampled_from(["1s", "24h"]),
    "directory": st.sampled_from(["/x", "~/y", "./z w"]),
    "chat_template": st.sampled_from(["/x.jinja", "./y: z.jinja"]),
    "discover": st.sampled_from(["huggingface", "[]", "lmstudio\n/my models"]),
    "write_budget": st.sampled_from(["unlimited", "5GiB"]),
    "max_request_size": st.sampled_from(["1MiB", "500MB"]),
}


@st.composite
def typed(draw: st.DrawFn, field: Field) -> str:
    if field.keys[-1] in SPECIAL:
        return draw(SPECIAL[field.keys[-1]])
    match field.kind:
        case Kind.CHOICE:
            return draw(st.sampled_from(field.choices))
        case Kind.NUMBER:
            return draw(st.sampled_from(["2", "3", "17", "50"]))
        case Kind.DURATION:
            return draw(st.sampled_from(["5s", "15m", "1.5h", "2h"]))
        case Kind.SIZE:
            return draw(st.sampled_from(["4GiB", "500MB", "25%"]))
        case Kind.LINES:
            lines = st.lists(PLAIN.map(str.strip), min_size=1, max_size=3, unique=True)
            return draw(lines.map("\n".join))
        case Kind.LONG:
            return draw(st.lists(PLAIN, min_size=1, max_size=4).map("\n".join))
        case _:
            return draw(PLAIN.map(str.strip))


def value_at(tree: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        tree = tree[key] if isinstance(tree, dict) else getattr(tree, key)
    return tree


def submit(text: str, above: tuple[str, ...], **now: str) -> str:
    fields = MODEL if above else REST
    was = shown(fields, above, text, written(text))
    found = changes(fields, above, was, now)
    return edited(text, found.values())


@pytest.mark.parametrize(("above", "field"), ALL, ids=lambda x: getattr(x, "name", None))
@settings(max_examples=10)
@given(data=st.data())
def test_what_is_typed_is_in_the_file_and_in_force_and_shown_again(
    above: tuple[str, ...], field: Field, data: st.DataObject
) -> None:
    content = data.draw(typed(field))
    beside = {"distributed.mode": {"distributed.processes": "2"}}.get(field.name, {})
    result = submit(TEXT, above, **{field.name: content}, **beside)
    declared, before = check(result, FILE, {}), load(TEXT, FILE, {})
    if not isinstance(declared, Settings):  # out of the range of this one, said at its place
        assert {error.loc for error in declared} == {(*above, *field.keys)}
        return

    # In force: as if the settings had been made in Python.
    value = value_of(field, content)
    if field.kind is not Kind.YAML and not field.keys[-1].endswith(("path", "directory", "plate")):
        if field.kind is Kind.CHOICE and value in (True, False):
            assert value_at(declared, (*above, *field.keys)) is value
        meant = {field.keys[-1]: value}
        cls = _class_of(above, field)
        extra = {"path": "x"} if cls is ModelSpec else {}
        extra |= {"processes": 2} if field.name == "distributed.mode" else {}
        assert value_at(declared, (*above, *field.keys)) == getattr(
            cls.model_validate(extra | meant), field.keys[-1]
        )

    # Shown again.
    again = shown(MODEL if above else REST, above, result, written(result))[field.name]
    if field.kind is Kind.YAML:
        assert written(f"v:\n  {again.replace(chr(10), chr(10) + '  ')}") == written(
            f"v:\n  {content.replace(chr(10), chr(10) + '  ')}"
        )
    elif field.kind is Kind.NUMBER:
        assert float(again) == float(content)
    else:
        assert again.strip() == content.strip()

    # Nothing else moved, and no comment is lost.
    for name in Settings.model_fields:
        if name != (*above, *field.keys)[0]:
            assert getattr(declared, name) == getattr(before, name)
    assert declared.models["demo"] == before.models["demo"]
    for line in TEXT.splitlines():
        if "#" in line:
            assert line.split("#", 1)[1] in result

    # And back to the default.
    back = submit(result, above, **dict.fromkeys([field.name, *beside], ""))
    if not field.is_required:
        without = submit(TEXT, above, **{field.name: ""})
        assert load(back, FILE, {}) == load(without, FILE, {})


def _class_of(above: tuple[str, ...], field: Field) -> type[BaseModel]:
    cls: Any = ModelSpec if above else Settings
    for key in field.keys[:-1]:
        annotation = cls.model_fields[key].annotation
        cls = annotation if isinstance(annotation, type) else annotation.__args__[0]
    return cls


def test_every_key_has_an_input_that_says_what_it_is() -> None:
    for cls, leave_out in ((ModelSpec, ()), (Settings, ("models",))):
        names = {field.keys[0] for field in fields_of(cls, leave_out)}
        assert names == set(cls.model_fields) - set(leave_out)
    for _, field in ALL:
        assert field.description
        assert field.cost in ("live", "reload", "restart")
        assert field.kind is not Kind.CHOICE or field.choices
    kinds = {field.name: field.kind for _, field in ALL}
    assert kinds["pinned"] is Kind.CHOICE
    assert kinds["system_prompt"] is Kind.LONG
    assert kinds["aliases"] is Kind.LINES
    assert kinds["idle_timeout"] is Kind.DURATION
    assert kinds["cache.hot"] is Kind.SIZE
    assert kinds["sampling.top_p"] is Kind.NUMBER
    assert kinds["adapters"] is Kind.YAML
    assert [field.name for field in MODEL if field.is_required] == ["path"]
    assert [group.key for group in groups_of(ModelSpec)][:2] == ["", "sampling"]


def test_what_was_not_changed_is_not_written() -> None:
    text = TEXT.replace("org/other", "${WHERE:-org/other}")
    was = shown(MODEL, ABOVE, text, written(text))
    assert was["path"] == "${WHERE:-org/other}"
    assert changes(MODEL, ABOVE, was, was) == {}
    assert submit(text, ABOVE, **(was | {"pinned": "true"})) == text + "    pinned: true\n"


def test_browsers_line_ends_are_no_change() -> None:
    text = submit(TEXT, ABOVE, system_prompt="one\r\ntwo")
    was = shown(MODEL, ABOVE, text, written(text))
    assert was["system_prompt"] == "one\ntwo"
    assert changes(MODEL, ABOVE, was, was | {"system_prompt": "one\r\ntwo"}) == {}
