"""The date that a template writes into a conversation: the day on which the conversation began.

Templates that ask for today's date put it at the beginning of the prompt. At midnight, or each
minute if they ask for the time, all of a conversation would have to be computed again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, time
from typing import Any

MOST = 4096  # conversations that are remembered


class ConversationDates:
    """Remembers the day of each conversation, told apart by its messages up to the first of a user.
    Thread-safe."""

    def __init__(self, now: Callable[[], datetime] = datetime.now) -> None:
        self._now = now
        self._days: OrderedDict[bytes, datetime] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, messages: list[dict[str, Any]]) -> datetime:
        """The beginning of the day on which this conversation was first seen."""
        key = _key(messages)
        with self._lock:
            day = self._days.get(key)
            if day is None:
                day = self._days[key] = datetime.combine(self._now().date(), time())
            self._days.move_to_end(key)
            if len(self._days) > MOST:
                self._days.popitem(last=False)
            return day


def _key(messages: list[dict[str, Any]]) -> bytes:
    beginning = []
    for message in messages:
        beginning.append([message.get("role"), message.get("content")])
        if message.get("role") == "user":
            break
    return hashlib.blake2b(json.dumps(beginning, default=str).encode(), digest_size=16).digest()
