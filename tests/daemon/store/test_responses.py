"""What is kept of responses: turns stay as long as anything leads to them."""

from __future__ import annotations

from typing import Any

import pytest
from fastmlx.daemon.store import responses as stored
from fastmlx.daemon.store.database import StoreUnavailable
from fastmlx.daemon.store.fullness import is_full
from fastmlx.daemon.store.store import Store
from fastmlx.daemon.store.tables import metadata
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import StaticPool


@pytest.fixture
async def open_store(store: Store) -> Store:
    assert store.flush()
    return store


def item(word: str) -> dict[str, Any]:
    return {"type": "message", "content": word}


def kept(name: str, parent: str | None = None, at: int = 0, **fields: Any) -> stored.Kept:
    turn = stored.Turn([item(f"in {name}")], [item(f"out {name}")], [item(f"before {name}")])
    return stored.Kept(name, parent, at, turn, {"id": name}, **fields)


def keep(connection: Connection, given: stored.Kept, limit: int = 100, oldest_ms: int = 0) -> None:
    stored.keep(connection, given, limit=limit, oldest_ms=oldest_ms)


def words(turns: list[stored.Turn]) -> list[str]:
    return [each["content"] for turn in turns for each in turn.items()]


async def test_a_chain_outlives_its_first_responses(open_store: Store) -> None:
    for name, parent in (("a", None), ("b", "a"), ("c", "b")):
        await open_store.change(keep, kept(name, parent))
    chain = ["before a", "in a", "out a", "in b", "out b", "in c", "out c"]
    assert words(await open_store.read(stored.chain, "c")) == chain
    assert await open_store.change(stored.forget, "a")
    assert not await open_store.change(stored.forget, "a")
    assert await open_store.read(stored.response, "a", 0) is None
    assert words(await open_store.read(stored.chain, "c")) == chain
    await open_store.change(stored.forget, "c")
    await open_store.change(stored.forget, "b")
    assert await open_store.read(stored.chain, "a") == []


async def test_a_parent_that_is_not_here_is_replaced_by_what_it_said(open_store: Store) -> None:
    await open_store.change(keep, kept("b", "elsewhere"))
    assert words(await open_store.read(stored.chain, "b")) == ["before b", "in b", "out b"]


async def test_where_much_is_kept_nothing_new_is_until_something_goes(open_store: Store) -> None:
    def put(connection: Connection, given: stored.Kept, most_bytes: int) -> bool:
        return stored.keep(connection, given, limit=100, oldest_ms=5, most_bytes=most_bytes)

    def talk(connection: Connection, head: str | None, most_bytes: int) -> bool:
        items = stored.Turn([item("x")], []) if head else None
        given = stored.Conversation("talk", 0, head, {})
        return stored.put_conversation(connection, given, items, most_bytes)

    assert await open_store.change(put, kept("a", at=5), 1 << 30)
    assert await open_store.change(talk, None, 1 << 30)
    assert await open_store.change(put, kept("old", at=5), 1 << 30)
    assert not await open_store.change(put, kept("b", at=6), 1)
    assert not await open_store.change(talk, "b", 1)
    assert await open_store.change(put, kept("a", at=5), 1), "what has become of it"
    assert await open_store.change(talk, None, 1), "other labels"
    assert await open_store.read(stored.turn, "b") is None
    assert words(await open_store.read(stored.chain, "a"))
    rows = 1000 * "many words that no compression makes small"
    large = kept("large", at=6)._replace(
        body={"id": rows, "all": [hash((rows, n)) for n in range(9000)]}
    )
    size = await open_store.read(used)
    assert await open_store.change(put, large, 1 << 30)
    assert not await open_store.change(put, kept("b", at=6), size + 30_000)
    assert await open_store.change(stored.forget, "large")
    assert await open_store.change(put, kept("b", at=6), size + 30_000)


def used(connection: Connection) -> int:
    """Bytes of the file that hold something."""
    return next(n for n in range(0, 1 << 30, 4096) if not is_full(connection, n))


async def test_the_oldest_go_by_number_and_by_age(open_store: Store) -> None:
    for at, name in enumerate("abcd"):
        await open_store.change(keep, kept(name, at=at), limit=3)
    assert await open_store.read(stored.response, "a", 0) is None
    assert await open_store.read(stored.response, "b", 2) is None  # too old to be shown
    await open_store.change(keep, kept("e", at=5), limit=9, oldest_ms=3)
    assert await open_store.read(stored.response, "c", 0) is None
    assert await open_store.read(stored.response, "d", 0) == {"id": "d"}


async def test_a_conversation_holds_what_was_said_in_it(open_store: Store) -> None:
    talk = stored.Conversation("t", 1, "first", {"a": "b"})
    await open_store.change(stored.put_conversation, talk, stored.Turn([item("hello")], []))
    await open_store.change(keep, kept("r", "first", conversation="t"))
    found = await open_store.read(stored.conversation, "t")
    assert found == talk._replace(head="r")
    await open_store.change(stored.forget, "r")
    assert words(await open_store.read(stored.chain, "r")) == ["hello", "in r", "out r"]
    assert await open_store.change(stored.forget_conversation, "t")
    assert await open_store.read(stored.chain, "r") == []


async def test_a_file_that_was_deleted_is_no_place_to_keep_anything(open_store: Store) -> None:
    open_store.path.unlink()
    with pytest.raises(StoreUnavailable):
        await open_store.change(keep, kept("a"))
    assert not open_store.path.exists()


STEPS = st.lists(
    st.tuples(st.sampled_from(["keep", "forget", "talk", "hang up"]), st.integers(0, 5)),
    max_size=25,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.randoms(use_true_random=False))
def test_no_turn_is_left_that_nothing_leads_to(steps: Any, random: Any) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for number, (step, which) in enumerate(steps):
            if step == "keep":
                parent = random.choice([None, *(f"r{i}" for i in range(number))])
                keep(connection, kept(f"r{number}", parent, number), limit=4)
            elif step == "forget":
                stored.forget(connection, f"r{which}")
            elif step == "talk":
                found = connection.scalar(text("SELECT id FROM turns ORDER BY id LIMIT 1"))
                conversation = stored.Conversation(f"t{which}", 1, None, {})
                if stored.conversation(connection, f"t{which}") is None:
                    stored.put_conversation(connection, conversation, None)
                if found:
                    keep(connection, kept(f"r{number}", found, number, conversation=f"t{which}"))
            else:
                stored.forget_conversation(connection, f"t{which}")
        ids = set(connection.scalars(text("SELECT id FROM turns")))
        reached = connection.scalars(
            text(
                "WITH RECURSIVE reached(id) AS (SELECT id FROM responses UNION SELECT head FROM "
                "conversations UNION SELECT parent FROM turns JOIN reached USING (id)) "
                "SELECT id FROM reached WHERE id IS NOT NULL"
            )
        )
        assert ids == set(reached)
    engine.dispose()
