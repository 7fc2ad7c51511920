"""One conversation always gives one text, whichever way a client writes it down."""

from __future__ import annotations

import copy
import json
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fastmlx.config.settings import ModelSpec
from fastmlx.daemon.api.anthropic_request import read_request
from fastmlx.daemon.api.body import read_json
from fastmlx.daemon.api.openai_chat import read_chat
from fastmlx.daemon.api.responses_fields import chat_request, read_asked
from fastmlx.daemon.api.responses_input import messages_of
from fastmlx.daemon.api.responses_seal import Seal
from fastmlx.daemon.protocol.requests import ChatRequest
from fastmlx.daemon.text.conversation import BILLING, canonical
from fastmlx.daemon.text.dates import ConversationDates
from fastmlx.daemon.text.divergence import AROUND, RecentPrompts, common_prefix, divergence
from fastmlx.daemon.text.model_text import ModelText
from fastmlx.daemon.text.template import ChatTemplate
from hypothesis import given
from hypothesis import strategies as st

GOLDEN = Path(__file__).parents[2] / "golden" / "agents"
DEMO = Path(__file__).parents[3] / "daemon" / "demo" / "model"


def text(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **more}


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {}}, **more}


# ---- what does not depend on the template


def test_the_billing_block_is_dropped_wherever_it_is_written() -> None:
    rest = [{"role": "system", "content": "You are Claude."}, {"role": "user", "content": "Hi"}]
    for content in (
        [text(f"{BILLING} a=1;"), text("You are Claude.")],
        f"{BILLING} a=2;\n\nYou are Claude.",
    ):
        messages = [{"role": "system", "content": content}, rest[1]]
        assert canonical(messages, None).messages == rest
    alone = [{"role": "system", "content": [text(f"{BILLING} a=1;")]}, rest[1]]
    assert canonical(alone, None).messages == rest[1:]
    # In a user's mouth it is a text like any other.
    said = [{"role": "user", "content": f"{BILLING} what is that?"}]
    assert canonical(said, None).messages == said


def test_text_is_the_same_text_however_it_is_cut_and_marked() -> None:
    marked = [text("a", cache_control={"type": "ephemeral"}), text("b", id="x")]
    made = canonical([{"role": "user", "content": marked}], None)
    assert made.messages == [{"role": "user", "content": "a\nb"}]
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    content = [text("a"), {**picture, "cache_control": {"type": "ephemeral"}}]
    made = canonical([{"role": "user", "content": content}], None)
    assert made.messages == [{"role": "user", "content": [text("a"), picture]}]


def test_a_deferred_tool_stands_where_it_was_loaded_and_nowhere_else() -> None:
    reference = [{"type": "tool_reference", "tool_name": "fetch"}]
    messages = [{"role": "tool", "tool_call_id": "1", "content": reference}]
    tools = [tool("b", cache_control={}), tool("fetch", defer_loading=True), tool("a")]
    made = canonical(messages, tools)
    assert made.tools == [tool("b"), tool("a")], "in the order given"
    assert made.messages[0]["content"] == f"Loaded tool:\n{json.dumps(tool('fetch'))}"
    unknown = canonical(messages, [tool("a")]).messages[0]["content"]
    assert unknown == "The tool fetch is not available."


def test_what_was_given_is_not_changed() -> None:
    messages = [{"role": "system", "content": [text(f"{BILLING} x"), text("a", cache_control={})]}]
    tools = [tool("a", defer_loading=True)]
    before = copy.deepcopy((messages, tools))
    canonical(messages, tools)
    assert (messages, tools) == before


# ---- what templates bear

ASSISTANT = "{% for m in messages %}{% if m.role == 'assistant' %}A{{ m.content }}{% endif %}"
PLAIN = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
# Qwen3.5 refuses a late system message, Gemma 2 all of them, and two messages of a user in a row.
FIRST_ONLY = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}"
    "[{{ m.role }}:{{ m.content }}]{% endfor %}"
)
STRICT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system') }}"
    "{% elif (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Alternate') }}"
    "{% endif %}[{{ m.role }}:{{ m.content }}]{% endfor %}"
)
LATE = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "U"},
    {"role": "system", "content": "L"},
    {"role": "assistant", "content": "A"},
]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (PLAIN, "[system:S][user:U][system:L][assistant:A]"),
        (
            FIRST_ONLY,
            "[system:S][user:U][user:<system-reminder>\nL\n</system-reminder>][assistant:A]",
        ),
        (STRICT, "[user:S\n\nU\n\n<system-reminder>\nL\n</system-reminder>][assistant:A]"),
    ],
)
def test_a_late_system_message_stays_in_its_place(template: str, expected: str) -> None:
    assert ChatTemplate(template).render(LATE, add_generation_prompt=False) == expected


def test_very_many_messages_become_one_in_one_go() -> None:
    """Not one after the other: that would copy what is there for each of 100,000."""
    many = [{"role": "system", "content": "x" * 100}] * 100_000
    user = {"role": "user", "content": "y"}
    strict = "{% for m in messages %}{% if m.role == 'system' and not loop.first %}" + (
        "{{ raise_exception('late') }}{% endif %}{{ m.content }}{% endfor %}"
    )
    assert len(ChatTemplate(strict).render([*many, user])) == 102 * 100_000 - 1
    mixed = [
        {"role": "system", "content": each} for each in ("a", "b", [{"type": "text", "text": "c"}])
    ]
    assert ChatTemplate(strict).render([*mixed, user]) == "a\n\nb\n\ncy"


def test_an_unknown_role_is_read_as_a_user() -> None:
    messages = [{"role": "narrator", "content": "Night."}]
    assert ChatTemplate(PLAIN).render(messages) == "[user:Night.]"


CALLS = (
    "{% for m in messages %}{% for c in m.tool_calls or [] %}<{{ c.id }}>{% endfor %}"
    "{% if m.role == 'tool' %}({{ m.tool_call_id }}){% endif %}{% endfor %}"
)


def call(identity: str, name: str) -> list[dict[str, Any]]:
    function = {"name": name, "arguments": "{}"}
    return [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": identity, "function": function}],
        },
        {"role": "tool", "tool_call_id": identity, "content": "ok"},
    ]


def test_ids_of_clients_do_not_reach_the_prompt() -> None:
    named = CALLS.replace("<{{ c.id }}>", "<{{ c.id }} {{ c.function.name }}>")
    first = ChatTemplate(named).render([*call("toolu_1", "a"), *call("call_xyz", "b")])
    other = ChatTemplate(named).render([*call("toolu_9", "a"), *call("call_abc", "b")])
    assert first == other == "<call00000 a>(call00000)<call00001 b>(call00001)"
    # Kimi's template writes the id alone, and the model's name stands in it.
    kimi = ChatTemplate(CALLS).render([*call("toolu_1", "a"), *call("functions.b:1", "b")])
    assert kimi == "<functions.a:0>(functions.a:0)<functions.b:1>(functions.b:1)"


def test_a_picture_in_a_tools_result_is_a_note_and_a_users_is_refused() -> None:
    picture = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    shown = ChatTemplate(PLAIN).render([{"role": "tool", "content": picture}])
    assert shown == "[tool:[image_url left out: this model reads text only]]"


def test_the_date_of_a_conversation_is_the_day_on_which_it_began() -> None:
    clock = [datetime(2026, 11, 21, 23, 59)]
    dates = ConversationDates(lambda: clock[0])
    begun = [{"role": "user", "content": "Hi"}]
    first = dates.of(begun)
    clock[0] = datetime(2026, 11, 22, 0, 1)
    assert dates.of([*begun, {"role": "assistant", "content": "Hello"}]) == first
    assert dates.of([{"role": "user", "content": "Ho"}]) == datetime(2026, 11, 22)
    template = ChatTemplate("{{ strftime_now('%d %B %Y %H:%M') }}")
    assert template.render(begun, now=first) == "21 November 2026 00:00"


# ---- captured shapes


def requests(session: str) -> list[ChatRequest]:
    found = []
    for file in sorted(GOLDEN.glob(f"{session}_*.json")):
        captured = json.loads(file.read_text("utf-8"))
        body = json.dumps(captured["body"]).encode()
        match captured["path"].partition("?")[0]:
            case "/v1/messages":
                found.append(read_request(body).request)
            case "/v1/responses":
                asked = read_asked(read_json(body))
                messages = messages_of(asked.items, asked.tools, Seal(b"none"))
                found.append(chat_request(asked, messages, client=None, stream=False))
            case _:
                found.append(read_chat(body).request)
    return found


SESSIONS = sorted({file.stem.rpartition("_")[0] for file in GOLDEN.glob("*.json")})


@pytest.mark.parametrize("session", SESSIONS)
def test_an_agents_next_prompt_begins_with_all_of_the_last(session: str) -> None:
    model = ModelText.load(DEMO, ModelSpec(path=str(DEMO)))

    def prompt(request: ChatRequest, begun: bool) -> list[int]:
        return model.chat_prompt(
            request.messages, request.tools, begun, kwargs=request.chat_template_kwargs
        ).tokens

    asked = requests(session)
    assert len(asked) > 1
    for before, after in pairwise(asked):
        old = prompt(before, False)
        assert prompt(after, True)[: len(old)] == old


# ---- where it went wrong


def test_a_divergence_shows_both_sides() -> None:
    old = "s" * 2000 + "Monday" + "x" * 2000
    new = "s" * 2000 + "Tuesday" + "x" * 2000
    found = divergence(old, new)
    assert found is not None
    assert (found.shared, found.before) == (2000, "s" * AROUND)
    assert found.old.startswith("Monday")
    assert found.new.startswith("Tuesday")
    assert len(found.old) == len(found.new) == AROUND
    assert "Monday" in str(found)
    assert divergence(old, old + new) is None, "nothing is lost"
    assert divergence("a" + old, new) is None, "nothing is shared"


def test_the_nearest_of_the_recent_prompts_counts() -> None:
    recent = RecentPrompts()
    system = "s" * 3000
    assert recent.note(system + "a" * 3000) is None
    assert recent.note("t" * 5000) is None
    found = recent.note(system + "b" * 3000)
    assert found is not None
    assert found.shared == 3000
    assert recent.note(system + "b" * 3000 + "c" * 3000) is None


@given(st.text("ab", max_size=50), st.text("ab", max_size=50))
def test_the_common_prefix_is_the_longest(a: str, b: str) -> None:
    size = common_prefix(a, b)
    assert a[:size] == b[:size]
    assert size in (len(a), len(b)) or a[size] != b[size]
