"""No field that a maker's SDK can send is one that we know and pass over in silence: it is carried
out, refused by name, or said to change nothing (which /openapi.json tells, too)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any, get_type_hints

import msgspec
import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming as Betas
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming as Messages
from fastmlx.config.settings import Settings
from fastmlx.daemon.api import (
    anthropic_request,
    ollama_fields,
    ollama_request,
    openai_chat,
    openai_completions,
    responses_fields,
)
from fastmlx.daemon.api.openai_structured import STRUCTURED
from fastmlx.daemon.protocol.errors import BadRequest
from ollama import Options
from ollama._types import ChatRequest, GenerateRequest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming as Chat
from openai.types.completion_create_params import CompletionCreateParamsNonStreaming as Completions
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming as Create

# Later ones may know more fields; those are unknown to us until somebody has gone over them.
GONE_OVER = {"openai": (3, 54), "anthropic": (2, 12), "ollama": (0, 6)}
HELLO = [{"role": "user", "content": "Hello"}]
BETAS = {"betas", "cache_control"}  # a header; a mark that is looked for wherever it stands
# Of Ollama's options: what is about loading, and what only counts beside a refused one.
LOADING = {
    *("embedding_only", "f16_kv", "logits_all", "low_vram", "main_gpu", "mirostat_eta"),
    *("mirostat_tau", "num_batch", "num_gpu", "num_keep", "num_thread", "numa", "use_mlock"),
    *("use_mmap", "vocab_only"),
}


def names(shape: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(shape)}


@pytest.mark.parametrize(
    ("package", "sdk", "fields", "refused", "others"),
    [
        (
            "openai",
            get_type_hints(Chat),
            openai_chat.ChatFields,
            openai_chat.UNSUPPORTED,
            {*STRUCTURED, *openai_chat.HARMLESS},
        ),
        (
            "openai",
            get_type_hints(Completions),
            openai_completions.CompletionFields,
            openai_completions.UNSUPPORTED,
            openai_completions.common.HARMLESS,
        ),
        (
            "openai",
            get_type_hints(Create),
            responses_fields.ResponsesFields,
            responses_fields.UNSUPPORTED,
            responses_fields.HARMLESS,
        ),
        *(
            (
                "anthropic",
                get_type_hints(sdk),
                anthropic_request.MessagesFields,
                anthropic_request.UNSUPPORTED,
                {*BETAS, *anthropic_request.HARMLESS},
            )
            for sdk in (Messages, Betas)
        ),
        ("ollama", ChatRequest.model_fields, ollama_request.OllamaChatFields, {}, ()),
        (
            "ollama",
            GenerateRequest.model_fields,
            ollama_request.OllamaGenerateFields,
            ollama_request.UNSUPPORTED,
            (),
        ),
        ("ollama", Options.model_fields, ollama_fields.Options, ollama_fields.UNSUPPORTED, LOADING),
    ],
)
def test_every_field_of_the_sdks_is_accounted_for(
    package: str,
    sdk: Iterable[str],
    fields: type[msgspec.Struct],
    refused: Iterable[str],
    others: Iterable[str],
) -> None:
    carried_out = names(fields)
    passed_over = set(sdk) - carried_out - set(refused) - set(others)
    installed = tuple(int(part) for part in version(package).split(".")[:2])
    if passed_over and installed > GONE_OVER[package]:
        pytest.skip(f"{package} {version(package)} is newer, and knows {passed_over}, too")
    assert passed_over == set()
    assert not carried_out & set(others)


def chat(**fields: Any) -> object:
    return openai_chat.read_chat(json.dumps({"model": "m", "messages": HELLO} | fields).encode())


def completion(**fields: Any) -> object:
    body = json.dumps({"model": "m", "prompt": "x"} | fields).encode()
    return openai_completions.read_completion(body)


def message(**fields: Any) -> object:
    body = {"model": "m", "messages": HELLO, "max_tokens": 9} | fields
    return anthropic_request.read_request(json.dumps(body).encode())


def response(**fields: Any) -> object:
    return responses_fields.read_asked({"model": "m", "input": "x"} | fields)


def generate(**fields: Any) -> object:
    body = json.dumps({"model": "m", "prompt": "x"} | fields).encode()
    return ollama_request.read_generate(body, Settings())


def options(**fields: Any) -> object:
    return ollama_fields.read_options(fields)


CLEARS = {"type": "clear_tool_uses_20250919"}
THINKING = {"type": "clear_thinking_20251015"}
SERVER = {"type": "url", "url": "https://example.com/sse", "name": "x"}


@pytest.mark.parametrize(
    ("read", "name", "harmless", "refused"),
    [
        (chat, "audio", None, {"voice": "alloy", "format": "wav"}),
        (chat, "function_call", "auto", {"name": "f"}),
        (chat, "functions", [], [{"name": "f"}]),
        (chat, "modalities", ["text"], ["text", "audio"]),
        (chat, "moderation", None, {"model": "omni-moderation-latest"}),
        (chat, "web_search_options", None, {}),
        (chat, "stream_options", {"include_usage": True}, {"include_obfuscation": True}),
        (completion, "stream_options", {}, {"include_obfuscation": True}),
        (completion, "suffix", "", "y"),
        (message, "compaction", None, {"type": "enabled"}),
        (message, "container", None, {"skills": [{"type": "anthropic", "skill_id": "xlsx"}]}),
        (message, "container", "container_1", {"id": "c", "skills": [{"skill_id": "pdf"}]}),
        (
            message,
            "context_management",
            {"edits": [THINKING | {"keep": "all"}, CLEARS, {"type": "next_month"}]},
            {"edits": [THINKING | {"keep": "some"}]},
        ),
        (message, "context_management", None, {"edits": [{"type": "compact_20260112"}]}),
        (message, "mcp_servers", [SERVER], [SERVER | {"authorization_token": "t"}]),
        (message, "thread", None, {"type": "create"}),
        (response, "context_management", [], [{"type": "compaction"}]),
        (response, "moderation", None, {"model": "omni-moderation-latest"}),
        (response, "prompt", None, {"id": "pmpt_1"}),
        (response, "stream_options", {"include_obfuscation": False}, {"include_obfuscation": True}),
        (response, "truncation", "auto", "sometimes"),
        (response, "max_tool_calls", 3, 0),
        (generate, "context", [], [1, 2]),
        (generate, "shift", False, True),
        (generate, "suffix", "", "y"),
        (generate, "template", "", "{{ .Prompt }}"),
        (options, "mirostat", 0, 2),
        (options, "penalize_newline", True, False),
        (options, "tfs_z", 1.0, 0.5),
        (options, "typical_p", 1, 0.7),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name_and_its_harmless_value_is_not(
    read: Callable[..., object], name: str, harmless: Any, refused: Any
) -> None:
    read(**{name: harmless})
    with pytest.raises(BadRequest, match=name) as caught:
        read(**{name: refused})
    place = (caught.value.param or "").removeprefix("options.")
    assert place.partition(".")[0] == name


def test_a_level_of_verbosity_reaches_the_template() -> None:
    asked: Any = chat(verbosity="low", reasoning_effort="high")
    assert asked.request.chat_template_kwargs == {"verbosity": "low", "reasoning_effort": "high"}
    fields: Any = response(text={"verbosity": "low"})
    made = responses_fields.chat_request(fields, HELLO, client=None, stream=False)
    assert made.chat_template_kwargs == {"verbosity": "low"}


def test_a_mark_for_the_cache_is_a_hint_to_keep_what_is_computed() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    marked = {"role": "user", "content": [{"type": "text", "text": "Hello", **mark}]}
    asked: Any = [message(), message(messages=[marked]), message(**mark)]
    assert [each.request.keep_prefix for each in asked] == [False, True, True]
