"""Bytes of a POST → values, or a 400 that says what is wrong."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from fastmlx.daemon.api.body import convert, one_of, read_json, refuse
from fastmlx.daemon.protocol.errors import BadRequest
from hypothesis import given
from hypothesis import strategies as st

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Fields(msgspec.Struct):
    model: str
    n: int | None = None
    messages: list[dict[str, Any]] = []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"temperature": NaN}', "not valid JSON"),
        (b'{"temperature": 1e999}', "out of range"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\\ud800x"}', "not valid JSON"),
        (b"[1, 2]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"a":' * 100_000, "nested more than 200 levels deep"),
        (b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", "nested more than 200 levels deep"),
    ],
)
def test_a_broken_body_is_a_400_that_says_how(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read_json(body)


def test_brackets_may_nest_as_deep_as_anybody_writes_them_and_stand_side_by_side() -> None:
    body = b'{"a":' + b"[" * 199 + b"]" * 199 + b', "b": [' + b",".join([b"{}"] * 500) + b"]}"
    assert len(read_json(body)["b"]) == 500


@pytest.mark.parametrize("part", [b"[],", b"{},", b"1,2,3,4,5,6,7,8,9,0,"])
def test_a_body_of_so_many_values_that_they_would_fill_the_memory_is_refused(part: bytes) -> None:
    many = part * 550_000
    with pytest.raises(BadRequest, match="more than 500,000 lists"):
        read_json(b'{"messages":[' + many + b"1]}")
    assert read_json(b'{"text":"' + many + b'\\""}')["text"] == many.decode() + '"'


@given(st.binary(max_size=64))
def test_any_bytes_give_an_object_or_a_400(body: bytes) -> None:
    try:
        assert isinstance(read_json(body), dict)
    except BadRequest as error:
        assert error.message


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_what_python_writes_is_read_back(value: dict[str, Any]) -> None:
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "model"),
        ({"model": 1}, "model"),
        ({"model": "m", "n": "2"}, "n"),
        ({"model": "m", "n": 1.5}, "n"),
        ({"model": "m", "messages": {}}, "messages"),
        ({"model": "m", "messages": [{}, 3]}, "messages[1]"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        convert(fields, Fields)
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


def test_unknown_fields_are_ignored() -> None:
    assert convert({"model": "m", "cache_control": {"x": 1}}, Fields).model == "m"


def test_a_field_that_we_lack_is_refused_unless_it_asks_for_nothing() -> None:
    unsupported = {"best_of": one_of(1), "strict": one_of(False)}
    refuse({"best_of": 1, "strict": False, "other": 5}, unsupported)
    refuse({"best_of": None}, unsupported)
    for fields in ({"best_of": 2}, {"strict": True}, {"best_of": True}, {"strict": 0}):
        with pytest.raises(BadRequest) as caught:
            refuse(fields, unsupported)
        assert caught.value.param == next(iter(fields))
