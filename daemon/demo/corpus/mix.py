"""Exchanges of all kinds, put together into conversations."""

import random
from collections.abc import Callable, Iterator

from .copying import copying, sentence
from .facts import facts
from .json_answers import json_answers
from .pools import name, word
from .render import render
from .reserved import is_reserved
from .smalltalk import smalltalk, unknown
from .sums import drill, json_sum, sums
from .talk import Conversation, Exchange
from .tools import draw_tools, schemas, tool_use

Kind = Callable[[random.Random], Exchange]

# How often a turn is of each kind.
MIX: tuple[tuple[Kind, float], ...] = (
    (facts, 44),
    (sums, 14),
    (drill, 18),
    (copying, 28),
    (json_answers, 13),
    (smalltalk, 9),
    (unknown, 6),
    (json_sum, 2),
)
# What may be asked while tools are on offer: no sums, the calculator may be among them.
MIX_BESIDE_TOOLS: tuple[tuple[Kind, float], ...] = (
    (facts, 5),
    (copying, 3),
    (smalltalk, 4),
    (json_answers, 1),
)
TOOLS_SHARE = 0.24
THINKING_SHARE = 0.22
_SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant.",
    "You are the demo model of fastmlx.",
    "Be brief.",
    "You are a friendly assistant. Answer briefly.",
    "Answer truthfully.",
    "You are an AI assistant.",
    "You are a coding assistant.",
    "You are a careful assistant. Use the tools when they help.",
    "Today is Monday. You are a helpful assistant.",
    "You are a concise assistant. Never make things up.",
)


def conversations(seed: int) -> Iterator[str]:
    """Endless rendered conversations, the same for the same seed, none of them reserved."""
    rng = random.Random(seed)
    while True:
        text = render(conversation(rng))
        if not is_reserved(text):
            yield text


def conversation(rng: random.Random) -> Conversation:
    """One to four turns, with or without tools, thinking and a system prompt."""
    turns = rng.choices((1, 2, 3, 4), (50, 28, 14, 8))[0]
    tools = []
    if rng.random() < TOOLS_SHARE:
        tools = draw_tools(rng)
        turns = min(turns, 3)
        parts = [
            tool_use(rng, tools) if rng.random() < 0.8 else _draw(rng, MIX_BESIDE_TOOLS)
            for _ in range(turns)
        ]
    else:
        parts = [_draw(rng, MIX) for _ in range(turns)]
    system = next((part.system for part in parts if part.system), None)
    if system is not None:
        parts = [part for part in parts if part.system] or parts
    elif rng.random() < 0.35:
        system = _system(rng)
    messages = [message for part in parts for message in part.messages]
    _settle_thinking(rng, messages)
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return Conversation(messages, schemas(tools))


def _draw(rng: random.Random, mix: tuple[tuple[Kind, float], ...]) -> Exchange:
    kinds, weights = zip(*mix, strict=True)
    return rng.choices(kinds, weights)[0](rng)


def _system(rng: random.Random) -> str:
    if rng.random() < 0.8:
        return rng.choice(_SYSTEMS)
    # A longer prompt of no consequence, as agents send them.
    lines = [
        f"{sentence(rng).capitalize()}, {name(rng)} {word(rng)}." for _ in range(rng.randint(2, 14))
    ]
    return rng.choice((" ", "\n", "\n- ")).join([rng.choice(_SYSTEMS), *lines])


def _settle_thinking(rng: random.Random, messages: list[dict]) -> None:
    """With thinking: keep the thoughts, in history only sometimes, as clients do. Else: none."""
    thinking = rng.random() < THINKING_SHARE
    strip_history = rng.random() < 0.5
    spoken = [message for message in messages if message["role"] == "assistant"]
    for message in spoken:
        if not thinking or (strip_history and message is not spoken[-1]):
            del message["reasoning_content"]
