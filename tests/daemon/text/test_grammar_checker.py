"""Grammars of clients are compiled by a process that may be lost."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator

import pytest
from fastmlx.daemon.protocol.errors import BadRequest
from fastmlx.daemon.protocol.grammar import Grammar
from fastmlx.daemon.text import grammar_checker
from fastmlx.daemon.text.grammar_checker import MAX_SOURCE, GrammarChecker

GOOD = Grammar("regex", "[a-z]+")
ENDLESS = Grammar("regex", "(((a{1000}){1000}){1000}){1000}")


@pytest.fixture
async def checker() -> AsyncIterator[GrammarChecker]:
    checker = GrammarChecker()
    yield checker
    await checker.close()


def schema(value: object) -> Grammar:
    return Grammar("json_schema", json.dumps(value))


async def message(checker: GrammarChecker, *wishes: tuple[Grammar, str]) -> str:
    with pytest.raises(BadRequest) as caught:
        await checker.check(wishes)
    return caught.value.message


async def test_what_is_wrong_has_its_field_and_its_place(checker: GrammarChecker) -> None:
    await checker.check([])
    await checker.check([(GOOD, "a"), (schema({"type": "object"}), "b")])
    broken = {"type": "object", "properties": {"x": {"type": "strin"}}}
    said = await message(checker, (GOOD, "a"), (schema(broken), "b"))
    assert said.startswith("b.properties.x: ") and "strin" in said
    assert "a: " in await message(checker, (Grammar("regex", "(a"), "a"))
    assert "more than" in await message(checker, (Grammar("lark", "x" * (MAX_SOURCE + 1)), "a"))


async def test_one_that_takes_too_long_is_refused_and_the_next_is_answered(
    checker: GrammarChecker,
) -> None:
    said = await message(checker, (ENDLESS, "a"))
    assert said.startswith("a: "), said
    assert said == await message(checker, (ENDLESS, "a")), "it is remembered"
    await checker.check([(GOOD, "a")])


async def test_one_that_nobody_waits_for_answers_nobody_else(checker: GrammarChecker) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await checker.check([(ENDLESS, "a")])
    await checker.check([(GOOD, "a")])


async def test_who_asks_about_many_does_not_keep_others_waiting(checker: GrammarChecker) -> None:
    done: list[str] = []

    async def one(owner: str, word: str) -> None:
        await checker.check([(Grammar("regex", word), "a")], owner)
        done.append(owner)

    asked = [("greedy", "a"), ("greedy", "b"), ("greedy", "c"), ("modest", "d")]
    await asyncio.gather(*(one(*each) for each in asked))
    assert done == ["greedy", "modest", "greedy", "greedy"]


HURRIED = """
import fastmlx.daemon.text.compile_grammar as program
program.IDLE_S = 0.1
program.main()
"""


async def test_a_process_that_ended_for_want_of_questions_is_started_again(
    checker: GrammarChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar_checker, "COMMAND", (sys.executable, "-c", HURRIED))
    for word in "abc":
        await checker.check([(Grammar("regex", word), "a")])
        await asyncio.sleep(0.3)
