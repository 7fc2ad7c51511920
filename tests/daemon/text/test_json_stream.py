"""Whatever is passed on of a JSON object can be closed to valid JSON at any moment."""

from __future__ import annotations

import json

import pytest
from fastmlx.daemon.text.json_stream import MAX_DEPTH, JsonObjectStream
from hypothesis import given
from hypothesis import strategies as st

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)


@given(value=OBJECTS, indent=st.sampled_from([None, 2]), ascii_=st.booleans())
def test_a_valid_object_passes_unchanged_and_can_be_closed_anywhere(
    value: dict, indent: int | None, ascii_: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_)
    stream = JsonObjectStream()
    passed = ""
    for character in text:
        passed += stream.push(character)
        assert isinstance(json.loads(passed + stream.close()), dict)
    assert stream.complete
    assert passed == text
    assert stream.close() == ""


@given(text=st.text('{}[],:"\\ab1-.eut\n\ufffd0', max_size=40), cut=st.integers(0, 40))
def test_any_text_leaves_something_that_can_be_closed(text: str, cut: int) -> None:
    whole = JsonObjectStream()
    passed = whole.push("{" + text)
    assert isinstance(json.loads(passed + whole.close()), dict)
    parts = JsonObjectStream()
    first = parts.push("{" + text[:cut])
    if not parts.complete and not parts.failed:
        assert first + parts.push(text[cut:]) == passed
        assert (parts.complete, parts.failed) == (whole.complete, whole.failed)
        assert parts.rest == whole.rest


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ('{"a": "x\ny\t\x01"}', '{"a": "x\\ny\\t\\u0001"}'),
        ('{"a": "\\d\\\'"}', '{"a": "\\\\d\'"}'),
        ('{"a": [1, 2, ], }', '{"a": [1, 2 ] }'),
        ('{"a": [True, False, None]}', '{"a": [true, false, null]}'),
    ],
)
def test_common_slips_are_repaired(text: str, passed: str) -> None:
    stream = JsonObjectStream()
    assert stream.push(text) == passed
    assert stream.complete
    json.loads(passed)


@pytest.mark.parametrize("text", ["[", "x", '{"a" 1}', "{1}", '{"a": 01}', '{"a": nope}', "{,}"])
def test_what_cannot_be_an_object_fails(text: str) -> None:
    stream = JsonObjectStream()
    passed = stream.push(text)
    assert stream.failed
    json.loads(passed + stream.close())


def test_the_text_behind_the_object_is_left() -> None:
    stream = JsonObjectStream()
    assert stream.push(' {"a": 1}</end>') == ' {"a": 1}'
    assert stream.rest == "</end>"


def test_strings_stream_while_names_and_numbers_wait() -> None:
    stream = JsonObjectStream()
    assert stream.push('{"na') == "{"
    assert stream.push('me": "val') == '"name": "val'
    assert stream.push('ue", "n": 1') == 'ue"'
    assert stream.push("2}") == ', "n": 12}'


def test_bottomless_brackets_fail() -> None:
    stream = JsonObjectStream()
    passed = stream.push('{"a": ' + "[" * 100_000)
    assert stream.failed
    assert len(passed) < MAX_DEPTH + 10
