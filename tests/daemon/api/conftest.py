"""Clients of the running daemon, one for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from live import LiveDaemon
from openai import OpenAI


@pytest.fixture(scope="module")
def http(daemon: LiveDaemon) -> Iterator[httpx.Client]:
    with daemon.http() as http:
        yield http


@pytest.fixture(scope="module")
def client(daemon: LiveDaemon) -> Iterator[OpenAI]:
    with daemon.openai() as client:
        yield client
