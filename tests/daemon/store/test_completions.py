"""What is kept of chat completions: page by page, for whom it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastmlx.daemon.protocol.caller import ANYBODY, Caller, Scope
from fastmlx.daemon.store import completions as stored
from fastmlx.daemon.store.tables import metadata
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

ADA, BOB = (Caller(frozenset({Scope.INFERENCE}), name) for name in ("ada", "bob"))
NOBODYS = Caller(frozenset({Scope.INFERENCE}))


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def kept(
    name: str, at: int, owner: str | None = None, model: str = "m", **labels: str
) -> stored.Kept:
    said = [{"role": "user", "content": name}]
    return stored.Kept(name, at, owner, model, labels, {"id": name}, said)


def put(connection: Connection, *given: stored.Kept) -> None:
    connection.execute(metadata.tables["completions"].delete())
    for each in given:
        stored.keep(connection, each, limit=1000, oldest_ms=0)


def names(connection: Connection, wanted: stored.Wanted, by: Caller = ANYBODY) -> list[str]:
    found, _ = stored.listed(connection, wanted, 0, by)
    return [each.body["id"] for each in found]


def test_lists_are_filtered_by_model_and_by_every_label(connection: Connection) -> None:
    odd = {'a "b" \\ .c': "%'"}
    put(
        connection,
        kept("a", 1, topic="x", more="1"),
        kept("b", 2, topic="x"),
        kept("c", 3, model="other", topic="y", **odd),
    )
    assert names(connection, stored.Wanted(metadata={"topic": "x"})) == ["a", "b"]
    assert names(connection, stored.Wanted(metadata={"topic": "x", "more": "1"})) == ["a"]
    assert names(connection, stored.Wanted(metadata=odd)) == ["c"]
    assert names(connection, stored.Wanted(metadata={"topic": "z"})) == []
    assert names(connection, stored.Wanted(model="m", order="desc")) == ["b", "a"]
    with pytest.raises(stored.Unknown):
        stored.listed(connection, stored.Wanted(after="nobody"), 0, ANYBODY)


def test_a_key_sees_what_it_made_and_an_admin_all(connection: Connection) -> None:
    put(connection, kept("a", 1, "ada"), kept("b", 2, "bob"), kept("c", 3))
    everything = stored.Wanted()
    assert names(connection, everything, ADA) == ["a"]
    assert names(connection, everything, NOBODYS) == ["c"]
    assert names(connection, everything) == ["a", "b", "c"]
    assert stored.completion(connection, "b", 0, ADA) is None
    assert stored.messages(connection, "b", 0, ADA) is None
    assert not stored.describe(connection, "b", {"x": "y"}, 0, ADA)
    assert not stored.forget(connection, "b", ADA)
    with pytest.raises(stored.Unknown):
        stored.listed(connection, stored.Wanted(after="b"), 0, ADA)
    assert stored.describe(connection, "b", {"x": "y"}, 0, BOB)
    found = stored.completion(connection, "b", 0, BOB)
    assert found is not None
    assert found.object() == {"id": "b", "metadata": {"x": "y"}}
    assert stored.forget(connection, "b", BOB)
    assert names(connection, everything) == ["a", "c"]


def test_the_oldest_go_by_number_and_by_age(connection: Connection) -> None:
    put(connection, *(kept(name, at) for at, name in enumerate("abcd")))
    assert stored.completion(connection, "b", 2, ANYBODY) is None  # too old to be shown
    stored.keep(connection, kept("e", 5), limit=4, oldest_ms=0)
    assert names(connection, stored.Wanted()) == ["b", "c", "d", "e"]
    stored.keep(connection, kept("f", 6), limit=9, oldest_ms=3)
    assert names(connection, stored.Wanted()) == ["d", "e", "f"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 3), max_size=8), st.integers(1, 4), st.sampled_from(["asc", "desc"]))
def test_pages_hold_everything_once_and_in_order(
    connection: Connection, times: list[int], limit: int, order: str
) -> None:
    """Several may be of the same millisecond."""
    put(connection, *(kept(f"c{number}", at) for number, at in enumerate(times)))
    seen: list[str] = []
    more, after = True, None
    while more:
        wanted = stored.Wanted(order=order, after=after, limit=limit)  # pyright: ignore[reportArgumentType]
        found, more = stored.listed(connection, wanted, 0, ANYBODY)
        seen += [each.body["id"] for each in found]
        after = seen[-1] if seen else None
    ordered = sorted((at, f"c{number}") for number, at in enumerate(times))
    assert seen == [name for _, name in (ordered if order == "asc" else ordered[::-1])]
