"""A model's folder and its entry in the configuration decide how requests become tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastmlx import daemon
from fastmlx.config.settings import ModelSpec
from fastmlx.daemon.protocol.errors import BadRequest, ModelFailed
from fastmlx.daemon.protocol.requests import ChatRequest, RequestMeta, SamplingRequest
from fastmlx.daemon.text.model_text import ModelText
from fastmlx.daemon.text.parsing import tool
from fastmlx.daemon.text.reasoning_parsers import think
from fastmlx.daemon.text.tool_parsers import hermes

USER = {"role": "user", "content": "Hello"}


def load(folder: Path, **spec: Any) -> ModelText:
    return ModelText.load(folder, ModelSpec(path=str(folder), **spec))


def shown(text: ModelText, tokens: list[int]) -> str:
    return text.tokenizer.decode(tokens, skip_special_tokens=False)


def test_a_conversation_becomes_the_tokens_of_its_template(chat_text: ModelText) -> None:
    prompt = chat_text.chat_prompt([USER])
    expected = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert shown(chat_text, prompt.tokens) == expected
    assert prompt.tokens == chat_text.tokenizer.encode(expected)
    assert (prompt.reasoning_open, prompt.continues) == (False, False)


def test_a_template_that_opens_the_thinking_is_noticed(chat_text: ModelText) -> None:
    assert chat_text.chat_prompt([USER], kwargs={"enable_thinking": True}).reasoning_open
    closed = [{"role": "user", "content": "What does <think> mean?"}]
    assert not chat_text.chat_prompt(closed).reasoning_open


def test_a_continued_message_may_stop_inside_the_thinking(chat_text: ModelText) -> None:
    options: dict[str, Any] = {"add_generation_prompt": False, "continue_final_message": True}

    def prompt(content: str):
        return chat_text.chat_prompt([USER, {"role": "assistant", "content": content}], **options)

    assert prompt("<think>\nLet me").reasoning_open
    answer = prompt("<think>\nLet me\n</think>\n\nFour")
    assert answer.continues
    assert not answer.reasoning_open
    assert shown(chat_text, answer.tokens).endswith("Four")


def test_the_defaults_of_the_spec_apply_where_the_request_is_silent(chat_folder: Path) -> None:
    text = load(chat_folder, system_prompt="Be kind.", chat_template_args={"enable_thinking": True})
    assert shown(text, text.chat_prompt([USER]).tokens).startswith(
        "<|im_start|>system\nBe kind.<|im_end|>"
    )
    assert text.chat_prompt([USER]).reasoning_open
    assert not text.chat_prompt([USER], kwargs={"enable_thinking": False}).reasoning_open
    for role in ("system", "developer"):
        own = text.chat_prompt([{"role": role, "content": "Be rude."}, USER])
        assert "kind" not in shown(text, own.tokens)


def test_parsers_are_recognised_or_named_or_off(chat_folder: Path) -> None:
    auto = load(chat_folder)
    assert isinstance(auto.new_tool_parser(0), hermes.Parser)
    assert isinstance(auto.new_reasoning_parser(0, False), think.Parser)
    assert auto.markers(tools=False) == {"<think>", "</think>"}
    assert auto.markers(tools=True) > auto.markers(tools=False)
    off = load(chat_folder, tool_parser="none", reasoning_parser="none")
    assert off.new_tool_parser(0) is None
    assert off.new_reasoning_parser(0, True) is None
    assert off.markers(tools=True) == frozenset()
    assert not off.chat_prompt([USER], kwargs={"enable_thinking": True}).reasoning_open
    with pytest.raises(ModelFailed, match=r"tool parser 'hermez'.*Did you mean hermes"):
        load(chat_folder, tool_parser="hermez")
    with pytest.raises(ModelFailed, match=r"reasoning parser 'x'; choices: .*think"):
        load(chat_folder, reasoning_parser="x")


def test_the_template_of_the_demo_model_is_recognised(chat_folder: Path) -> None:
    file = Path(daemon.__path__[0]) / "demo" / "model" / "chat_template.jinja"
    text = load(chat_folder, chat_template=file)
    assert isinstance(text.new_tool_parser(0), hermes.Parser)
    assert isinstance(text.new_reasoning_parser(0, False), think.Parser)


def test_a_template_file_of_the_spec_wins(chat_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}{{ m.content }}!{% endfor %}")
    text = load(chat_folder, chat_template=file)
    assert shown(text, text.chat_prompt([USER]).tokens) == "Hello!"
    with pytest.raises(ModelFailed, match=r"absent\.jinja"):
        load(chat_folder, chat_template=tmp_path / "absent.jinja")
    file.write_text("{% if %}")
    with pytest.raises(ModelFailed, match="line 1"):
        load(chat_folder, chat_template=file)


def test_requests_with_tools_use_the_template_for_tools(chat_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "named"
    shutil.copytree(chat_folder, folder)
    named = [
        {"name": "default", "template": "plain"},
        {"name": "tool_use", "template": "tools"},
        {"name": "rag", "template": "{% broken"},
    ]
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    text = load(folder)
    assert shown(text, text.chat_prompt([USER]).tokens) == "plain"
    assert shown(text, text.chat_prompt([USER], [{"type": "function"}]).tokens) == "tools"


def test_a_model_without_a_template_completes_but_does_not_chat(
    chat_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    folder.mkdir()
    shutil.copy(chat_folder / "tokenizer.json", folder)
    text = load(folder)
    assert shown(text, text.completion_prompt("Hello world")) == "Hello world"
    with pytest.raises(BadRequest, match="no chat template"):
        text.chat_prompt([USER])


def test_prompts_of_token_ids_pass_through(chat_text: ModelText) -> None:
    assert chat_text.completion_prompt([1, 2, 3]) == [1, 2, 3]
    for broken in ([], "", [1, -2]):
        with pytest.raises(BadRequest):
            chat_text.completion_prompt(broken)


@pytest.mark.parametrize(
    ("parser", "banned"), [("hermes", True), ("llama3", False), ("harmony", False), ("none", False)]
)
def test_tools_that_may_not_be_called_are_shown_where_calls_can_be_kept_from_coming(
    parser: str, banned: bool
) -> None:
    text = load(Path(daemon.__path__[0]) / "demo" / "model", tool_parser=parser)
    request = ChatRequest(
        model="m",
        messages=[USER],
        tools=[tool("weather", city="string")],
        tool_choice="none",
        sampling=SamplingRequest(),
        meta=RequestMeta(request_id="1", dialect="openai_chat"),
    )
    offered = msgspec.structs.replace(request, tool_choice="auto")
    assert (text.call_token is not None) == banned
    assert ("weather" in text.prompt_of(request).text) == banned
    assert "weather" in text.prompt_of(offered).text
