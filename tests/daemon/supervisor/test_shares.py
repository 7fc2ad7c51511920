"""How the memory for all models is divided, and who gives way when it is short."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastmlx.daemon.supervisor import engines
from fastmlx.daemon.supervisor.cache import CachePlan, spared
from fastmlx.daemon.supervisor.pressure import Level, of_linux, of_macos
from fastmlx.daemon.supervisor.shares import allowances, within
from fastmlx.daemon.supervisor.status import State
from houses import MIB, House, start, tokens_of
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("limit", "counted", "others", "allowed"),
    [
        (100, [], 0, []),
        (100, [30], 0, [100]),
        (100, [30, 10], 0, [60, 40]),
        (100, [30, 10], 40, [40, 20]),
        (100, [90, 60], 0, [60, 40]),
        (100, [50], 200, [0]),
        (100, [0, 0], 0, [50, 50]),
    ],
)
def test_who_may_use_what(limit: int, counted: list[int], others: int, allowed: list[int]):
    assert allowances(limit, counted, others) == allowed


@given(
    st.integers(0, 10_000),
    st.lists(st.integers(0, 5_000), max_size=6),
    st.integers(0, 10_000),
)
def test_never_more_than_there_is(limit: int, counted: list[int], others: int):
    allowed = allowances(limit, counted, others)
    assert all(each >= 0 for each in allowed)
    assert sum(allowed) <= max(0, limit - others)
    if sum(counted) + others <= limit:
        assert all(a >= c for a, c in zip(allowed, counted, strict=True))


@pytest.mark.parametrize(
    ("allowed", "held", "told"),
    [
        ([50, 50], [50, 50], [50, 50]),
        ([70, 30], [50, 50], [50, 30]),  # the first waits until the second has given back
        ([70, 30], [50, 30], [70, 30]),
        ([70, 30], [60, 50], [60, 30]),  # too much is held
        ([40, 60], [20, 20], [40, 60]),
        ([60, 40], [30, 60], [40, 40]),
    ],
)
def test_nobody_grows_into_what_another_still_holds(
    allowed: list[int], held: list[int], told: list[int]
):
    assert within(100, allowed, held) == told


async def test_engines_are_told_what_they_may_use_when_others_come_and_go(
    make_house: Callable[..., House],
):
    house = make_house(limit_bytes=1000 * MIB)
    for name in ("a", "b"):
        await house.declare(name, behaviour={"memory_bytes": 100 * MIB})
    await house.supervisor.load("a")
    await house.until(lambda: house.told("a")[-1:] == [1000 * MIB])
    await house.supervisor.load("b")
    await house.until(lambda: house.told("a")[-1:] == [500 * MIB] == house.told("b")[-1:])
    house.supervisor.set_memory_limit(600 * MIB)
    await house.until(lambda: house.told("b")[-1:] == [300 * MIB])
    await house.supervisor.unload("b")
    await house.until(lambda: house.told("a")[-1:] == [600 * MIB])


async def test_an_idle_model_goes_for_one_that_is_short_of_memory(
    make_house: Callable[..., House],
):
    house = make_house(limit_bytes=1000 * MIB)
    for name in ("idle", "pinned", "busy"):
        await house.declare(name, pinned=name == "pinned", behaviour={"short": name == "busy"})
    await house.supervisor.load("idle")
    await house.supervisor.load("pinned")
    async with house.supervisor.lease("busy") as lease:
        stream = start(lease, [1], 400)
        await house.until(lambda: house.status("idle").state is State.STOPPED)
        assert house.status("pinned").state is State.READY
        assert len(await tokens_of(stream)) == 400


# ---- other programs


async def test_caches_and_then_idle_models_give_way_to_other_programs(
    make_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(engines, "PRESSURE_EVERY_S", 0.02)
    pressure = Level.NORMAL
    house = make_house(limit_bytes=1000 * MIB, pressure=lambda: pressure)
    house.supervisor.cache.set(CachePlan(800, 0, None, house.home.cache))
    for name in ("first", "second", "pinned", "busy"):
        await house.declare(name, pinned=name == "pinned")
        await house.supervisor.load(name)
    await house.until(lambda: house.told("busy", "hot.txt")[-1:] == [200])
    pressure = Level.WARNING
    await house.until(lambda: house.told("busy", "hot.txt")[-1:] == [100])
    pressure = Level.NORMAL
    await house.until(lambda: house.told("busy", "hot.txt")[-1:] == [200])
    async with house.supervisor.lease("busy") as lease:
        stream = start(lease, [1], 50)
        pressure = Level.CRITICAL
        await house.until(lambda: house.told("busy", "hot.txt")[-1:] == [1])
        for name in ("first", "second"):
            await house.until(lambda name=name: house.status(name).state is State.STOPPED)
        assert len(await tokens_of(stream)) == 50
    await house.until(lambda: house.status("busy").state is State.STOPPED)
    assert house.status("pinned").state is State.READY


def test_what_systems_say_of_their_memory():
    calm = "some avg10=0.00 avg60=1.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 total=0\n"
    assert of_linux(calm) is Level.NORMAL
    assert of_linux(calm.replace("some avg10=0.00", "some avg10=31.20")) is Level.WARNING
    assert of_linux(calm.replace("full avg10=0.00", "full avg10=11.04")) is Level.CRITICAL
    assert of_linux("") is Level.NORMAL
    assert [of_macos(number) for number in (0, 1, 2, 4)] == [1, 1, 2, 4]
    assert [spared(100, level) for level in Level] == [100, 50, 1]
    assert spared(0, Level.CRITICAL) == 0
