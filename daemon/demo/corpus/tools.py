"""Exchanges in which a tool is called, and its result used."""

import json
import random
import re

from .talk import Exchange, Tool, assistant, tool_calls, tool_result, user
from .toolbox import ToolKind, Use, calculator, clock, other, weather

_ERRORS = ("not found", "unknown place", "timeout", "no connection", "bad request", "not available")


def draw_tools(rng: random.Random) -> list[ToolKind]:
    """One to four tools with different names; weather, clock and calculator are likeliest."""
    count = rng.choice((1, 1, 2, 2, 3, 3, 4))
    kinds = [kind for kind in (weather, clock, calculator) if rng.random() < 0.4]
    tools = [kind(rng) for kind in kinds]
    while len(tools) < count:
        tool = other(rng)
        if all(not _alike(tool, known) for known in tools):
            tools.append(tool)
    rng.shuffle(tools)
    return tools


def _alike(one: ToolKind, two: ToolKind) -> bool:
    # Two file readers on offer would leave nothing to choose by.
    first, second = one.schema["function"], two.schema["function"]
    same = first.get("description") == second.get("description") and "description" in first
    return same or set(re.split("_", first["name"])) & set(re.split("_", second["name"])) != set()


def tool_use(rng: random.Random, tools: list[ToolKind]) -> Exchange:
    """A question that needs one of `tools` (now and then two calls at once)."""
    tool = rng.choice(tools)
    first = tool.use(rng)
    uses = [first]
    question = first.question
    if rng.random() < 0.08 and len(first.arguments) == 1:
        second = tool.use(rng)
        value = next(iter(second.arguments.values()))
        if str(next(iter(first.arguments.values()))) in question and len(second.arguments) == 1:
            uses.append(second)
            old = str(next(iter(first.arguments.values())))
            question = question.replace(old, f"{old} and {value}")
    calls = [(tool.name, use.arguments) for use in uses]
    messages = [user(question), tool_calls(calls, _thought(tool, uses))]
    if rng.random() < 0.06:
        error = rng.choice(_ERRORS)
        messages += [
            tool_result(rng.choice((json.dumps({"error": error}), f"Error: {error}")))
            for _ in uses[:1]
        ]
        if len(uses) == 1:
            return Exchange(
                [*messages, assistant(f"Sorry, the tool failed: {error}.", "The tool failed.")]
            )
        messages.pop()
    messages += [tool_result(use.result) for use in uses]
    answer = " ".join(use.answer for use in uses)
    return Exchange([*messages, assistant(answer, "I have the result.")])


def _thought(tool: ToolKind, uses: list[Use]) -> str:
    values = [str(value) for use in uses for value in use.arguments.values()]
    given = f" with {', '.join(values)}" if values else ""
    return f"I call {tool.name}{given}."


def schemas(tools: list[ToolKind]) -> list[Tool]:
    """What a client would send as `tools`."""
    return [tool.schema for tool in tools]
