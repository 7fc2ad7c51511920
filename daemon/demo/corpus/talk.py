"""The words of the corpus: what one generated conversation is."""

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]  # as in OpenAI's chat API
Tool = dict[str, Any]


@dataclass
class Exchange:
    """One user question with everything up to the final answer."""

    messages: list[Message]
    system: str | None = None  # the exchange only makes sense under this system prompt


@dataclass
class Conversation:
    """What is rendered into one training document."""

    messages: list[Message]
    tools: list[Tool] = field(default_factory=list)


def exchange(question: str, answer: str, thought: str, system: str | None = None) -> Exchange:
    """A question that is answered at once."""
    return Exchange([user(question), assistant(answer, thought)], system)


def user(text: str) -> Message:
    """A user message."""
    return {"role": "user", "content": text}


def assistant(text: str, thought: str) -> Message:
    """An assistant message with its thought."""
    return {"role": "assistant", "content": text, "reasoning_content": thought}


def tool_calls(calls: list[tuple[str, dict[str, Any]]], thought: str) -> Message:
    """An assistant message that calls tools."""
    return {
        "role": "assistant",
        "content": "",
        "reasoning_content": thought,
        "tool_calls": [
            {"type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments in calls
        ],
    }


def tool_result(text: str) -> Message:
    """What a tool answered."""
    return {"role": "tool", "content": text}
