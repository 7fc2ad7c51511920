"""Changes of files written in any style: each is made exactly, or refused."""

from __future__ import annotations

from typing import Any

from fastmlx.config.edit import Change, EditError, edited, written
from fastmlx.config.emit import Written
from hypothesis import given
from hypothesis import strategies as st

KEYS = ("a", "b", "long key", "7")
SCALARS = ("1", "x", "'it''s'", '"two\\nlines"', "null", "", "1.5", "~", "on # c", "${VAR:-x}")


@st.composite
def documents(draw: st.DrawFn) -> str:
    """YAML of mappings three levels deep, with comments everywhere that they can stand."""
    step = draw(st.sampled_from([2, 3, 4]))
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    numbers = iter(range(10_000))

    def comment() -> str:
        return f"# c{next(numbers)}"

    def lines(indent: int, depth: int) -> list[str]:
        pad = " " * indent
        found: list[str] = []
        for key in draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True)):
            found += [f"{pad}{comment()}"] * draw(st.integers(0, 1))
            found += [""] * draw(st.integers(0, 1))
            tail = f"  {comment()}" if draw(st.booleans()) else ""
            style = draw(st.sampled_from(["scalar", "flow", "list", "items", "text", "block"]))
            if style == "block" and depth < 3:
                found += [f"{pad}{key}:{tail}", *lines(indent + step, depth + 1)]
            elif style == "flow":
                found.append(f"{pad}{key}: {{a: 1, b: [x, 'y'], 7: }}{tail}")
            elif style == "list":
                found.append(f"{pad}{key}: [one, 'two', \"3\"]{tail}")
            elif style == "items":
                dent = pad + " " * draw(st.sampled_from([0, step]))
                items = [f"{dent}- one{tail}", f"{dent}{comment()}", f"{dent}- 'two'"]
                found += [f"{pad}{key}:{tail}", *items]
            elif style == "text":
                body = pad + " " * step
                head = draw(st.sampled_from(["|", ">-", "|+", "|-"]))
                found += [f"{pad}{key}: {head}{tail}", f"{body}one", "", f"{body}  two # no"]
            else:
                found.append(f"{pad}{key}: {draw(st.sampled_from(SCALARS))}")
        found += [f"{pad}{comment()}"] * draw(st.integers(0, 1))
        return found

    text = newline.join(lines(0, 1))
    return text + draw(st.sampled_from([newline, "", newline * 3]))


PLACES = st.lists(st.sampled_from((*KEYS, "new")), min_size=1, max_size=4).map(tuple)
VALUES = st.sampled_from(
    [None, 5, True, "x y", "a: b", "two\nlines", "two\nlines\n", ["one"], ["one", "two", "3"], []]
) | st.sampled_from(
    [{"k": "v"}, {"k": {"deep": [1, 2]}}, Written("{a: 1}"), Written("a: 1  # mine\nb:\n  - x\n")]
)


def at(tree: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def others(tree: Any, keys: tuple[str, ...]) -> Any:
    """`tree` without the place, and without what is nothing on the way to it."""
    if not isinstance(tree, dict):
        return tree
    key, *below = keys
    rest = {k: v for k, v in tree.items() if k != key and v not in (None, {})}
    inner = others(tree.get(key), tuple(below)) if below else None
    return rest | ({key: inner} if inner not in (None, {}) else {})


@given(documents(), PLACES, VALUES)
def test_a_change_is_exact_and_leaves_the_rest_and_its_comments(
    text: str, keys: tuple[str, ...], value: Any
) -> None:
    before = written(text)
    for depth in range(1, len(keys)):
        if at(before, keys[:depth]) is not None and not isinstance(at(before, keys[:depth]), dict):
            keys = keys[:depth]  # a value stands in the way: change that
            break
    try:
        result = edited(text, [Change(keys, value)])
    except EditError as error:
        # A key without a value in braces; a text that keeps its blank lines, or that ends the file
        # without a line break, so that a line behind it would give it one.
        assert "only a hand" in str(error)
        assert "7: }" in text or "|+" in text or not text.endswith("\n")
        return
    after = written(result)
    if isinstance(value, Written):
        assert at(after, keys) in ({"a": 1}, {"a": 1, "b": ["x"]})
    elif value is not None:
        assert at(after, keys) == value
    else:
        assert at(after, keys) in (None, {})
    assert others(after, keys) == others(before, keys)
    if "\n" in text:
        assert result.count("\r\n") == (result.count("\n") if "\r\n" in text else 0)
    if value is not None and not isinstance(at(before, keys), dict | list):
        for word in text.split():
            if word.startswith("c") and word[1:].isdigit():
                assert word in result.split()
