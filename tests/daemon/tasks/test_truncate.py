"""Conversations that lose their oldest turns."""

from __future__ import annotations

from typing import Any

from fastmlx.daemon.tasks.truncate import Shorter, fitting, reserve
from hypothesis import given
from hypothesis import strategies as st

ROLES = st.sampled_from(["system", "user", "assistant", "tool"])


def chat(roles: list[str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": str(i)} for i, role in enumerate(roles)]


def said(messages: list[dict[str, Any]]) -> str:
    return " ".join(message["role"][0] + message["content"] for message in messages)


def test_turns_go_first_and_then_the_steps_of_the_last_one() -> None:
    ways = Shorter(chat(["system", "user", "assistant", "user"] + ["assistant", "tool"] * 3))
    assert [said(ways.less(k)) for k in range(ways.most + 1)] == [
        "s0 u1 a2 u3 a4 t5 a6 t7 a8 t9",
        "s0 u3 a4 t5 a6 t7 a8 t9",
        "s0 u3 a6 t7 a8 t9",
        "s0 u3 a8 t9",
    ]


async def test_as_much_stays_as_fits() -> None:
    messages = chat(["system"] + ["user", "assistant"] * 10 + ["user"])

    async def tokens(messages: list[dict[str, Any]]) -> int:
        return 10 * len(messages)

    assert await fitting(messages, tokens, 1000) is messages
    assert said(await fitting(messages, tokens, 65)) == "s0 u17 a18 u19 a20 u21"
    assert said(await fitting(messages, tokens, 5)) == "s0 u21"


@given(st.lists(ROLES, max_size=12))
def test_every_way_is_shorter_and_keeps_the_order_and_both_ends(roles: list[str]) -> None:
    messages = chat(roles)
    ways = Shorter(messages)
    assert ways.less(0) == messages
    for count in range(1, ways.most + 1):
        longer, shorter = ways.less(count - 1), ways.less(count)
        assert len(shorter) < len(longer)
        assert [message for message in longer if message in shorter] == shorter
        assert shorter[-1] == messages[-1]


def test_room_is_left_for_an_answer_but_never_most_of_the_context() -> None:
    assert reserve(None, 4096) == 512
    assert reserve(100, 4096) == 100
    assert reserve(100_000, 4096) == 1024
