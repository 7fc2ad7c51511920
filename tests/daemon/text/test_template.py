"""Templates render as transformers renders them, and refuse with their own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastmlx import daemon
from fastmlx.daemon.protocol.errors import BadRequest
from fastmlx.daemon.text.template import ChatTemplate
from transformers.utils.chat_template_utils import render_jinja_template

DEMO = Path(daemon.__path__[0]) / "demo" / "model" / "chat_template.jinja"

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# In the manner of Llama 3, Qwen2.5 and vision models: trims, dumps, loops over parts.
TRIMS = (
    "{{- bos_token }}{% for m in messages %}[{{ m.role }}]{{ m['content'] | trim }}</s>{% endfor %}"
)
DUMPS = """\
{%- for message in messages %}
    {%- if message.tool_calls %}
        {%- for call in message.tool_calls %}
            {{- '<tool_call>' + (call.function.arguments | tojson) + '</tool_call>' }}
        {%- endfor %}
    {%- else %}
        {{- message.content + '\\n' }}
    {%- endif %}
{%- endfor %}"""
PARTS = (
    "{% for m in messages %}{% for part in m.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %};{% endfor %}"
)
TRICKS = """\
{%- set ns = namespace(seen=0) -%}
{%- for message in messages -%}
    {%- if message.role == 'system' -%}{%- continue -%}{%- endif -%}
    {%- set ns.seen = ns.seen + 1 -%}
    {%- generation -%}{{ message.content }}{%- endgeneration -%}
    {%- if ns.seen == 2 -%}{%- break -%}{%- endif -%}
{%- endfor %}
  {% if tools %}
{{ tools | tojson(indent=2) }} {{ {'b': '<é>', 'a': 1} | tojson }}
    {% endif %}
{{ dict(a=1).a }} {{ dict.fromkeys(['x'], 2) | tojson(sort_keys=True, ensure_ascii=True) }}"""

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi <there> & you"},
    {"role": "assistant", "content": " Hello! "},
    {"role": "user", "content": "Grüße"},
]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "<é>", "parameters": {}}}]


def reference(source: str, messages: list[dict[str, Any]], **options: Any) -> str:
    [text], _ = render_jinja_template(conversations=[messages], chat_template=source, **options)
    return text


@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("prompted", [True, False])
@pytest.mark.parametrize("source", [CHATML, TRIMS, TRICKS, DEMO.read_text("utf-8")])
def test_conversations_render_as_in_transformers(
    source: str, prompted: bool, tools: list[dict[str, Any]] | None
) -> None:
    template = ChatTemplate(source, {"bos_token": "<s>"})
    ours = template.render(TALK, tools, add_generation_prompt=prompted)
    theirs = reference(source, TALK, tools=tools, add_generation_prompt=prompted, bos_token="<s>")
    assert ours == theirs


@pytest.mark.parametrize(
    "prefill", ["The answer is", "The answer is ", " so\n", "Hi <there> & you"]
)
@pytest.mark.parametrize("source", [CHATML, TRIMS, DEMO.read_text("utf-8")])
def test_a_final_message_is_continued_as_in_transformers(source: str, prefill: str) -> None:
    chat = [*TALK, {"role": "assistant", "content": prefill}]
    options: dict[str, Any] = {"add_generation_prompt": False, "continue_final_message": True}
    text = ChatTemplate(source, {"bos_token": "<s>"}).render(chat, **options)
    assert text == reference(source, chat, bos_token="<s>", **options)
    assert text.endswith(prefill if source is not TRIMS else prefill.strip())


def test_a_continued_message_may_be_a_list_of_parts() -> None:
    chat = [{"role": "assistant", "content": [{"type": "text", "text": "So it"}]}]
    options: dict[str, Any] = {"add_generation_prompt": False, "continue_final_message": True}
    assert ChatTemplate(PARTS).render(chat, **options) == "So it"
    assert ChatTemplate(CHATML).render(chat, **options) == "<|im_start|>assistant\nSo it"


def test_what_cannot_be_continued_is_refused() -> None:
    options: dict[str, Any] = {"add_generation_prompt": False, "continue_final_message": True}
    template = ChatTemplate("{% for m in messages %}{{ m.role }}{% endfor %}")
    with pytest.raises(BadRequest, match="changes its text"):
        template.render(TALK, **options)
    with pytest.raises(BadRequest, match="no text"):
        ChatTemplate(CHATML).render([{"role": "assistant", "content": None}], **options)
    with pytest.raises(BadRequest, match="exclude each other"):
        ChatTemplate(CHATML).render(TALK, continue_final_message=True)


@pytest.mark.parametrize("source", [CHATML, PARTS, DEMO.read_text("utf-8")])
def test_one_text_part_is_the_same_as_a_string(source: str) -> None:
    parts = [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in TALK]
    template = ChatTemplate(source)
    assert template.render(parts) == template.render(TALK)
    assert "Grüße" in template.render(TALK)


def test_several_parts_are_joined_by_newlines_where_a_template_wants_strings() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    chat = [{"role": "user", "content": parts}]
    rendered = ChatTemplate(CHATML).render(chat, add_generation_prompt=False)
    assert rendered == "<|im_start|>user\none\ntwo<|im_end|>\n"
    assert ChatTemplate(PARTS).render(chat) == "onetwo;"


CALLED: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "w", "arguments": '{"city":  "Köln","n": 1.0}'},
            }
        ],
    },
]


def test_arguments_become_an_object_for_templates_that_dump_them() -> None:
    rendered = ChatTemplate(DUMPS).render(CALLED)
    assert '<tool_call>{"city": "Köln", "n": 1.0}</tool_call>' in rendered


def test_arguments_stay_as_written_for_templates_that_print_text() -> None:
    rendered = ChatTemplate(DEMO.read_text("utf-8")).render(CALLED)
    assert '"arguments": {"city":  "Köln","n": 1.0}}' in rendered


@pytest.mark.parametrize("arguments", ["", "not JSON", None, {"city": "Rome"}, '{"a": "\\ud83d"}'])
def test_odd_arguments_do_not_break_the_rendering(arguments: Any) -> None:
    chat = json.loads(json.dumps(CALLED))
    chat[1]["tool_calls"][0]["function"]["arguments"] = arguments
    for source in (DUMPS, DEMO.read_text("utf-8")):
        assert b"tool_call" in ChatTemplate(source).render(chat).encode()


def test_the_developer_speaks_as_the_system_unless_the_template_knows_the_role() -> None:
    chat = [{"role": "developer", "content": "Be brief."}]
    assert "<|im_start|>system\nBe brief." in ChatTemplate(CHATML).render(chat)
    knows = CHATML.replace("messages %}", "messages %}{# developer #}", 1)
    assert "<|im_start|>developer\nBe brief." in ChatTemplate(knows).render(chat)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_earlier_thinking_reaches_the_template_under_any_of_its_names(field: str) -> None:
    chat = [{"role": "assistant", "content": "Four.", field: "Easy."}]
    source = "{% for m in messages %}{{ m.reasoning_content }}|{{ m.thinking }}{% endfor %}"
    assert ChatTemplate(source).render(chat) == "Easy.|Easy."


def test_variables_reach_the_template_but_cannot_replace_the_messages() -> None:
    template = ChatTemplate(
        "{{ messages[0].content }}{{ mode }}{{ bos_token }}", {"bos_token": "a"}
    )
    chat = [{"role": "user", "content": "x"}]
    assert template.render(chat, variables={"mode": "y", "bos_token": "b"}) == "xyb"
    with pytest.raises(BadRequest, match="messages"):
        template.render(chat, variables={"messages": []})


def test_a_refusal_has_the_words_of_the_template() -> None:
    template = ChatTemplate(
        "{% if messages | length > 1 %}{{ raise_exception('One message only!') }}{% endif %}"
    )
    with pytest.raises(BadRequest, match="One message only!"):
        template.render(TALK)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ messages[0].content.nope.nope }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% set ns = namespace(__class__=1) %}",
        "{% set ns = namespace() %}{% set ns._x = 1 %}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{% include 'x' %}",
    ],
)
def test_a_template_that_fails_or_reaches_out_is_a_clear_error(source: str) -> None:
    with pytest.raises(BadRequest, match="chat template"):
        ChatTemplate(source).render(TALK)


def test_a_syntax_error_names_the_line() -> None:
    with pytest.raises(ValueError, match="line 2: "):
        ChatTemplate("fine\n{% if %}")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "must not be empty"),
        (["Hi"], "must be an object with a role"),
        ([{"content": "Hi"}], "must be an object with a role"),
        ([{"role": "user", "content": 3}], "must be a string or a list"),
        ([{"role": "user", "content": [3]}], "must be an object with a type"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "text only, not image_url"),
        ([{"role": "assistant", "tool_calls": [{"id": "x"}]}], "function with a name"),
        ([{"role": "assistant", "tool_calls": 3}], "must be a list"),
    ],
)
def test_messages_that_are_none_are_refused(messages: list[Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        ChatTemplate(CHATML).render(messages)
