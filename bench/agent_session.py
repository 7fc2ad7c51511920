"""An agent's session, made up: a long system prompt with tools, then turns that each add an answer
and a tool's result. Built of tokens as a chat template would put them, the same every time.

Like the sessions that were captured from agents, whose text is not ours to give: most of it is
there from the start, each turn adds a little at the end, and answers come back as they were given.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from fastmlx.daemon.engine.core import EngineCore
from fastmlx.daemon.protocol.sampling import Sampling
from fastmlx.daemon.protocol.wire import Generate

END = 3  # closes a message
OPENING = (4, 5, 6)  # puts the name of who speaks before a message


class Session(NamedTuple):
    """How long it is, in turns and tokens."""

    turns: int
    system: int  # with the tools
    question: int
    answer: tuple[int, int]  # from, to
    result: tuple[int, int]


class Replayed(NamedTuple):
    prompt_tokens: int  # of all turns but the first
    cached_tokens: int
    nodes: int  # of the tree of prefixes, in the end
    last: int  # tokens of the last prompt


def replay_prompts(core: EngineCore, prompts: list[list[int]], ends: tuple[int, ...]) -> Replayed:
    """Sends these one after the other; `ends` close a message. The answers are not what the next
    prompt holds in their place, unlike those of `replay`: there they are computed."""
    sampling = Sampling(temperature=0.0, max_tokens=8, stop_token_ids=ends)
    cached = 0
    for turn, prompt in enumerate(prompts):
        core.add(Generate(turn, prompt, sampling))
        while not core.idle:
            cached += sum(row.cached_tokens for row in core.step() if turn)
        core.check()
    assert core.reuse is not None
    nodes = core.reuse.cache.stats().nodes
    return Replayed(sum(map(len, prompts[1:])), cached, nodes, len(prompts[-1]))


def replay(core: EngineCore, session: Session, vocab_size: int) -> Replayed:
    """Sends the turns one after the other, each with everything before it."""
    rng = random.Random(7)

    def message(count: int) -> list[int]:
        body = [rng.randrange(10, vocab_size) for _ in range(count)]
        return [*OPENING, *body, END]

    prompt = [*message(session.system), *message(session.question), *OPENING]
    asked = cached = last = 0
    for turn in range(session.turns):
        sampling = Sampling(
            temperature=0.0, max_tokens=rng.randint(*session.answer), stop_token_ids=(END,)
        )
        core.add(Generate(turn, prompt, sampling))
        answer: list[int] = []
        while not core.idle:
            for row in core.step():
                answer += row.tokens
                cached += row.cached_tokens if turn else 0
        core.check()
        asked += len(prompt) if turn else 0
        last = len(prompt)
        prompt = [*prompt, *answer, END, *message(rng.randint(*session.result)), *OPENING]
    assert core.reuse is not None
    return Replayed(asked, cached, core.reuse.cache.stats().nodes, last)
