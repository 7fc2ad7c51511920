"""Grammars of custom tools as regular expressions: what these take, the grammar takes."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest
import regex
from fastmlx.daemon.text.lark_regex import MAX_LENGTH, as_regex
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

BYTES = LLTokenizer("byte")
CODEX = r"""
start: begin_patch hunk+ end_patch
begin_patch: "*** Begin Patch" LF
end_patch: "*** End Patch" LF?
hunk: add_hunk | delete_hunk
    | update_hunk  // three of them
add_hunk: "*** Add File: " filename LF add_line+
delete_hunk: "*** Delete File: " filename LF
update_hunk: "*** Update File: " filename LF change_move? change?
filename: /(.+)/
add_line: "+" /(.*)/ LF -> line
change_move: "*** Move to: " filename LF
change: (change_context | change_line)+ eof_line?
change_context: ("@@" | "@@ " /(.+)/) LF
change_line: ("+" | "-" | " ") /(.*)/ LF
eof_line: "*** End of File" LF
%import common.LF
"""
SUM = """
start: expr
?expr: expr SIGN term | term
?term: factor ("*" term)?
factor: NUMBER | "(" expr ")" | ESCAPED_STRING
SIGN: "+" | "-"
%import common (NUMBER, ESCAPED_STRING)
%import common.WS_INLINE -> SPACE
%ignore SPACE
"""


@pytest.mark.parametrize(
    ("grammar", "taken", "refused"),
    [
        (
            CODEX,
            [
                '*** Begin Patch\n*** Add File: a b\n+x = "1"\n+\n*** End Patch',
                "*** Begin Patch\n*** Update File: a\n*** Move to: b\n@@ def f\n-x\n+\\\n"
                "*** End of File\n*** Delete File: c\n*** End Patch\n",
            ],
            ["*** Begin Patch\n*** End Patch", "*** Begin Patch\n*** Add File: \n*** End Patch"],
        ),
        (
            SUM,
            ["1", '1 + 2.5*("a" - (3))', "(((1)))", "1-2-3*4*5+6"],
            ["", "1 +", "(1", "1 2", "((1)"],
        ),
        (
            'start: "A"i "x".."z" ~ 2 [B] C{,2}\nB: /b+/i\nC: "\\u00e9" | "\\t"',
            ["axzBb\t", "Ayyéé"],
            ["ax", "axyééé"],
        ),
        ('start: list\nlist: list "," /[0-9]/ | /[0-9]/', ["1", "1,2,3"], ["", "1,", ",1"]),
        (
            'start: both\nboth: both "+" both | "a" both | both "b" | "x"',
            ["x", "aaxb+x", "ax+xbb"],
            ["a", "x+"],
        ),
        ("start: rest\nrest: /[a-c]/ rest?", ["a", "abcabcabc"], ["", "d"]),
        (
            '# a comment\nstart.2: "/" x /\\/\\// // another\n\n!x: "[" | "]"\n',
            ["/[//", "/]//"],
            ["/x//"],
        ),
    ],
    ids=["codex", "sum", "pieces", "list", "both", "rest", "marks"],
)
def test_it_takes_what_the_grammar_takes(
    grammar: str, taken: list[str], refused: list[str]
) -> None:
    pattern = regex.compile(as_regex(grammar))
    for text in taken:
        assert pattern.fullmatch(text), text
    for text in refused:
        assert not pattern.fullmatch(text), text


@pytest.mark.parametrize("grammar", [CODEX, SUM], ids=["codex", "sum"])
def test_whatever_is_written_in_its_bounds_the_grammar_takes(grammar: str) -> None:
    for seed in range(8):
        text = written(LLMatcher.grammar_from_regex(as_regex(grammar)), seed)
        original = LLMatcher(BYTES, LLMatcher.grammar_from_lark(grammar))
        assert original.consume_tokens(list(text)) and original.is_accepting(), text


def written(grammar: str, seed: int) -> bytes:
    """Something that the grammar allows, byte by byte."""
    chance = random.Random(seed)
    matcher = LLMatcher(BYTES, grammar)
    said: list[int] = []
    for _ in range(2000):
        if matcher.is_accepting() and chance.random() < 0.1:
            break
        mask = matcher.compute_bitmask()
        allowed = [i for i in b'+-*()"\\\n a1@EDMU' if mask[i >> 3] >> (i & 7) & 1]
        allowed = allowed or [i for i in range(256) if mask[i >> 3] >> (i & 7) & 1]
        if not allowed:
            break
        said.append(chance.choice(allowed))
        assert matcher.consume_tokens(said[-1:])
    return bytes(said) if matcher.is_accepting() else written(grammar, seed + 1000)


@pytest.mark.parametrize(
    ("grammar", "what"),
    [
        ("begin: \"a\"", "no rule named start"),
        ("start: end", "end is not defined"),
        ("start: \"a\"\nstart: \"b\"", "start is defined twice"),
        ("start: (\"a\"", "should"),
        ("start: \"a\" = 1", "line 1"),
        ("start: start \"a\"", "nothing can satisfy it"),
        ("start: %json {\"type\": \"string\"}", "%json"),
        ("start: a\na: /x/ & ~/y/", "& cannot"),
        ("%import python.NAME\nstart: NAME", "python.NAME"),
        ("%declare A\nstart: A", "%declare"),
        ("start[lazy]: /x/", "should"),
        ("start: \"z\"..\"a\"", "no range"),
        ("start: /a/l", "flag"),
        ("start: \"\\q\"", "escape"),
        ("start: " + "\"abc\" " * MAX_LENGTH, "too large"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_so_is_said(grammar: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        as_regex(grammar)


PIECES = st.sampled_from(
    [
        *("start", "a", "B", ":", "|", "(", ")", "[", "]", "*", "+", "?", "~", "2", "..", "{", "}"),
        *(",", '"x"', '"\\n"i', "/y/", "/[/]/i", "->", "\n", " ", "//"),
        *("%ignore", "%import", "common", ".WS"),
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=30), st.booleans())
def test_nothing_that_is_written_does_any_harm(text: str, begun: bool) -> None:
    with contextlib.suppress(ValueError):
        regex.compile(as_regex(f"start: a\na: {text}" if begun else text))


def test_rules_that_grow_without_end_are_cut_where_the_size_ends() -> None:
    wide: Any = "start: a\n" + "".join(
        f'{name}: "{name}" | "(" {" ".join("abcd")} ")"\n' for name in "abcd"
    )
    made = as_regex(wide)
    assert 10 < len(made) <= MAX_LENGTH
    assert regex.fullmatch(made, "(abcd)") and regex.fullmatch(made, "a")
