"""Work that several threads share, and that may be given up."""

from __future__ import annotations

import hashlib
import threading
import time
from functools import partial

import pytest
from fastmlx.daemon.engine import threads
from fastmlx.daemon.engine.threads import Threads


def test_everything_is_done_once_again_and_again() -> None:
    helpers = Threads()
    for number in (0, 1, 2, 50):
        done: list[int] = []
        assert helpers.run([lambda i=i, done=done: done.append(i) for i in range(number)]) == []
        assert sorted(done) == list(range(number))


def test_what_takes_too_long_is_named_and_the_rest_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE_S", 0.2)
    helpers = Threads()
    done: list[int] = []
    over = threading.Event()

    def slow() -> None:  # computes, and lets go of the GIL
        while not over.is_set():
            hashlib.pbkdf2_hmac("sha256", b"x", b"y", 20_000)

    work = [slow if i in (3, 20) else partial(done.append, i) for i in range(40)]
    try:
        assert helpers.run(work) == [3, 20]
        assert sorted(done) == [i for i in range(40) if i not in (3, 20)]
        assert helpers.run([lambda: done.append(40)]) == []
        assert done[-1] == 40
    finally:
        over.set()


def test_what_fails_is_named_and_the_rest_is_done() -> None:
    done: list[int] = []

    def fail() -> None:
        raise ValueError("on purpose")

    work = [lambda: done.append(0), fail, lambda: done.append(2)]
    helpers = Threads()
    assert [helpers.run(work) for _ in range(3)] == [[1]] * 3
    assert sorted(done) == [0, 0, 0, 2, 2, 2]


def test_who_waits_without_computing_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE_S", 0.05)
    # As when the machine sleeps. Other threads of the tests may compute all the time.
    monkeypatch.setattr(threads.time, "process_time", lambda: 7.0)
    assert Threads().run([partial(time.sleep, 0.3)]) == []
