"""What `reasoning_effort` means to different chat templates."""

from __future__ import annotations

from typing import Any

import pytest
from fastmlx.daemon.text.effort import DO_NOT_THINK, THINK, Effort
from fastmlx.daemon.text.template import ChatTemplate

TEXT = "{% for message in messages %}{{ message.content }}{% endfor %}"
SWITCH = TEXT + "{% if enable_thinking is defined and not enable_thinking %}</think>{% endif %}"
GPT_OSS = TEXT + "{% if not reasoning_effort %}{% set reasoning_effort = 'medium' %}{% endif %}"
TWO = (
    TEXT + "{% if reasoning_effort not in ('none', 'high') %}"
    "{{ raise_exception('only none and high') }}{% endif %}"
)
FIVE = TEXT + "{% if reasoning_effort in ['minimal', 'low', 'xhigh'] %}!{% endif %}"


@pytest.mark.parametrize(
    ("source", "level", "meaning"),
    [
        (SWITCH, "none", Effort(DO_NOT_THINK, {}, None, closed=True)),
        (SWITCH, "low", Effort({}, THINK, 2048)),
        (SWITCH, "medium", Effort({}, THINK, 8192)),
        (SWITCH, "high", Effort({}, THINK, None)),
        (SWITCH, "next-month", Effort({}, {}, None)),
        (GPT_OSS, "none", Effort({"reasoning_effort": "low"} | DO_NOT_THINK, {}, None)),
        (GPT_OSS, "minimal", Effort({"reasoning_effort": "low"}, THINK, None)),
        (GPT_OSS, "high", Effort({"reasoning_effort": "high"}, THINK, None)),
        (GPT_OSS, "xhigh", Effort({"reasoning_effort": "high"}, THINK, None)),
        (GPT_OSS, "next-month", Effort({"reasoning_effort": "next-month"}, {}, None)),
        (TWO, "low", Effort({"reasoning_effort": "high"}, THINK, None)),
        (TWO, "none", Effort({"reasoning_effort": "none"} | DO_NOT_THINK, {}, None)),
        (TWO, "next-month", Effort({}, {}, None)),
        (FIVE, "xhigh", Effort({"reasoning_effort": "xhigh"}, THINK, None)),
        (FIVE, "minimal", Effort({"reasoning_effort": "minimal"}, THINK, None)),
    ],
)
def test_a_level_is_said_in_the_templates_own_terms(
    source: str, level: str, meaning: Effort
) -> None:
    template = ChatTemplate(source)
    assert template.effort(level) == meaning
    assert template.effort(level) == meaning, "remembered"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"a": 1}', "a=1;"),
        ('{"a": "x', "a=x;"),
        ("", ""),
        ("[1]", "arguments=[1];"),
        ("not JSON", "arguments=not JSON;"),
        ({"a": 2}, "a=2;"),
    ],
)
def test_odd_arguments_in_the_history_are_shown_even_by_a_template_that_wants_an_object(
    arguments: Any, shown: str
) -> None:
    template = ChatTemplate(
        "{% for m in messages %}{% for c in m.tool_calls or [] %}"
        "{% for k, v in c.function.arguments | items %}{{ k }}={{ v }};{% endfor %}"
        "{% endfor %}{{ m.content }}{% endfor %}"
    )
    function = {"name": "f", "arguments": arguments}
    call = {"id": "1", "type": "function", "function": function}
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    assert template.render(messages) == "?" + shown
