"""Everything textual about one model: its tokenizer, its chat template and its parsers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..protocol.errors import BadRequest, ModelFailed
from ..protocol.grammar import Grammar
from ..protocol.requests import ChatRequest
from ..registry import Registry, UnknownName
from . import effort
from .answer_grammar import AnswerGrammar
from .conversation import canonical
from .dates import ConversationDates
from .parsing import ReasoningParser, ToolParser
from .template import ChatTemplate
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from ...config.settings import ModelSpec

_PACKAGE = __name__.rpartition(".")[0]
TOOL_PARSERS = Registry(f"{_PACKAGE}.tool_parsers", "tool parser", "fastmlx.tool_parsers")
REASONING_PARSERS = Registry(
    f"{_PACKAGE}.reasoning_parsers", "reasoning parser", "fastmlx.reasoning_parsers"
)


# Templates that drop the thinking of earlier turns change the text of what was computed already;
# these are the switches of Qwen's and GLM's.
_KEEP_THINKING = {"preserve_thinking": True, "clear_thinking": False}


class ChatPrompt(NamedTuple):
    """A rendered conversation, ready for the engine."""

    text: str
    tokens: list[int]
    reasoning_open: bool  # the prompt ends inside the model's thinking
    continues: bool  # the output continues the final message instead of starting a new one
    may_think: bool  # the output begins with the model's thinking, or may
    thinking_budget: int | None = None  # tokens, from `reasoning_effort`


class ModelText:
    """Bundles what turns requests of one model into tokens and tokens into events.

    Loading reads files and compiles the template (up to a second for a big vocabulary), and
    rendering or encoding a long conversation takes tens of milliseconds: call `load`,
    `chat_prompt` and `completion_prompt` through `asyncio.to_thread`. All are thread-safe.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        templates: dict[str, ChatTemplate],
        *,
        tool_parser: ModuleType | None = None,
        reasoning_parser: ModuleType | None = None,
        system_prompt: str | None = None,
        template_args: dict[str, Any] | None = None,
    ) -> None:
        """`templates` by name: "default", and perhaps "tool_use" for requests with tools."""
        self.tokenizer = tokenizer
        # Whether what a short text takes may be waited for on the event loop.
        self.is_quick = tokenizer.is_quick
        self._templates = templates
        self._tool_parser = tool_parser
        self._reasoning_parser = reasoning_parser
        self._system_prompt = system_prompt
        self._template_args = template_args or {}
        self._dates = ConversationDates()

    @classmethod
    def load(cls, folder: Path, spec: ModelSpec) -> ModelText:
        """Raises ModelFailed: no tokenizer, broken template, unknown parser name."""
        tokenizer = Tokenizer.load(folder)
        sources = tokenizer.chat_templates
        if spec.chat_template is not None:
            try:
                sources = {"default": spec.chat_template.expanduser().read_text("utf-8")}
            except (OSError, ValueError) as error:
                raise ModelFailed(f"The chat template cannot be read: {error}") from error
        templates = {}
        for name, source in sources.items():
            if name not in ("default", "tool_use"):
                continue  # "rag" and the like: nothing here asks for them
            try:
                templates[name] = ChatTemplate(source, tokenizer.special_tokens)
            except ValueError as error:
                raise ModelFailed(f"The chat template of {folder} is broken: {error}") from error
        joined = "\n".join(template.source for template in templates.values())
        return cls(
            tokenizer,
            templates,
            tool_parser=choose_parser(TOOL_PARSERS, spec.tool_parser, joined),
            reasoning_parser=choose_parser(REASONING_PARSERS, spec.reasoning_parser, joined),
            system_prompt=spec.system_prompt,
            template_args=dict(spec.chat_template_args),
        )

    def chat_prompt(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        kwargs: dict[str, Any] | None = None,
        defaults: dict[str, Any] | None = None,
    ) -> ChatPrompt:
        """`kwargs` are variables of the template that go before those of the model's entry in
        config.yaml, `defaults` those that come after. For `reasoning_effort` see text/effort.py.

        Raises BadRequest: no chat template, or the template refuses the messages.
        """
        messages, tools = canonical(messages, tools)
        template = self._templates.get("tool_use") if tools else None
        template = template or self._templates.get("default")
        if template is None:
            raise BadRequest(
                "This model has no chat template, so it cannot chat; it can complete text "
                "(/v1/completions), or its entry in config.yaml may name a chat_template."
            )
        if self._system_prompt and not any(_is_system(message) for message in messages):
            messages = [{"role": "system", "content": self._system_prompt}, *messages]
        kwargs = dict(kwargs or {})
        level = kwargs.pop(effort.KEY, None)
        asked = template.effort(level) if isinstance(level, str) else effort.Effort({}, {}, None)
        text = template.render(
            messages,
            tools,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            variables=_KEEP_THINKING
            | asked.proposed
            | (defaults or {})
            | self._template_args
            | asked.demanded
            | kwargs,
            now=self._dates.of(messages) if template.asks_for_date else None,
        )
        opened = self._opens_reasoning(text, messages, continue_final_message)
        return ChatPrompt(
            text,
            self.tokenizer.encode(text),  # the template has written bos, if the model wants it
            opened,
            continue_final_message,
            self._may_think(text, messages, continue_final_message),
            1 if asked.closed and opened else asked.budget,
        )

    def prompt_of(self, request: ChatRequest) -> ChatPrompt:
        """`chat_prompt` of a request. With `tool_choice` none its tools stay in the prompt, so that
        what was computed of it serves again, where the model can be kept from calling them
        (`call_token`); elsewhere they are left out."""
        shown = request.tool_choice != "none" or self.call_token is not None
        return self.chat_prompt(
            request.messages,
            (request.tools if shown else []) or None,
            request.add_generation_prompt,
            request.continue_final_message,
            request.chat_template_kwargs,
            request.chat_template_defaults,
        )

    @property
    def call_token(self) -> int | None:
        """The token without which the model cannot begin a call, if there is one."""
        opening = getattr(self._tool_parser, "OPEN", "")
        forms = [form for form in getattr(self._tool_parser, "FORMS", ()) if form.demanded]
        if not opening or not all(form.opening.startswith(opening) for form in forms):
            return None
        return self.tokenizer.added_token_id(opening)

    def grammar(self, request: ChatRequest, prompt: ChatPrompt) -> Grammar | None:
        """What the request demands of its output, None when anything goes.

        Raises BadRequest for what cannot be demanded of this model.
        """
        demands = AnswerGrammar(self.tokenizer, self._tool_parser, self._reasoning_parser)
        return demands.of(request, may_think=prompt.may_think, thinking=prompt.reasoning_open)

    @property
    def template(self) -> str:
        """The source of the chat template; "" for a model that has none."""
        default = self._templates.get("default")
        return default.source if default is not None else ""

    @property
    def thinks(self) -> bool:
        """Whether its thinking is told from its answers."""
        return self._reasoning_parser is not None

    def completion_prompt(self, prompt: str | list[int]) -> list[int]:
        """Token ids of a plain prompt, with the model's bos; ids are checked and passed through.

        Raises BadRequest for an empty prompt. An id may exceed the tokenizer's vocabulary, since
        models have padded ones; the engine knows those limits.
        """
        if isinstance(prompt, str):
            prompt = self.tokenizer.encode(prompt, add_special_tokens=True)
        if not prompt:
            raise BadRequest("prompt must not be empty.", param="prompt")
        if min(prompt) < 0:
            raise BadRequest("A token id cannot be negative.", param="prompt")
        return prompt

    def new_tool_parser(
        self, index: int, tools: Sequence[Mapping[str, Any]] = ()
    ) -> ToolParser | None:
        """For one choice; None when this model's calls have no format that we know."""
        return self._tool_parser.Parser(index, tools) if self._tool_parser else None

    def new_reasoning_parser(self, index: int, opened: bool) -> ReasoningParser | None:
        """For one choice; `opened` as in ChatPrompt."""
        module = self._reasoning_parser
        return module.Parser(index, opened=opened) if module else None

    def thinking_end(self, *, bare: bool = False) -> list[int]:
        """The tokens that end the thinking; none for a model that does not think. `bare`: without
        the blank lines behind, which a grammar of the answer would not take."""
        module = self._reasoning_parser
        if module is None:
            return []
        end = thinking_end(module)
        return self.tokenizer.encode(getattr(module, "BARE_END", end.rstrip()) if bare else end)

    def markers(self, *, tools: bool) -> frozenset[str]:
        """Special tokens whose text the parsers of a choice have to see."""
        modules = (self._reasoning_parser, self._tool_parser if tools else None)
        return frozenset(marker for module in modules if module for marker in module.MARKERS)

    def _may_think(self, text: str, messages: list[dict[str, Any]], continues: bool) -> bool:
        """Not where the template has closed the thinking already, or the answer has begun."""
        module = self._reasoning_parser
        if module is None:
            return False
        if self._opens_reasoning(text, messages, continues):
            return True
        close = getattr(module, "CLOSE", None)
        return not continues and not (close and text.rstrip().endswith(close))

    def _opens_reasoning(self, text: str, messages: list[dict[str, Any]], continues: bool) -> bool:
        """Looks at the end of the prompt only: users write such tags, too."""
        if self._reasoning_parser is None:
            return False
        parser: type[ReasoningParser] = self._reasoning_parser.Parser
        if continues:
            content = messages[-1].get("content")
            return isinstance(content, str) and parser.opened_by(content)
        end = text.rstrip()
        return any(
            end.endswith(marker) and parser.opened_by(marker)
            for marker in self._reasoning_parser.MARKERS
        )


def thinking_end(module: ModuleType) -> str:
    """What a model that a reasoning parser is for writes at the end of its thinking."""
    return getattr(module, "END", module.CLOSE)


def _is_system(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") in ("system", "developer")


def choose_parser(registry: Registry, name: str, chat_template: str) -> ModuleType | None:
    """The module that the spec names, or that recognises the template. Raises ModelFailed."""
    if name == "none":
        return None
    if name != "auto":
        try:
            return registry.get(name)
        except UnknownName as error:
            raise ModelFailed(f"{error} Or auto, or none.") from error
    modules = (registry.get(choice) for choice in registry.names())
    return next((module for module in modules if module.detect(chat_template)), None)
