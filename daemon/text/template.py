"""Chat templates: messages and tools to the text that the model was trained to continue.

Behaves like `apply_chat_template` of transformers (its chat_template_utils), without importing it:
the same sandbox, filters, globals and treatment of messages. Templates come with models from the
Hub, so they are untrusted code; they run in a bounded sandbox (`sandbox`) on plain data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.utils import Namespace

from ..protocol.errors import BadRequest
from .effort import NEAREST, Effort, effort
from .messages import Accepts, normalized
from .parsing import whole_characters
from .sandbox import Sandbox, TooSlow, with_small_numbers, within_bounds

RESERVED = ("messages", "tools", "documents", "add_generation_prompt")

# Put at the end of the message that is to be continued; the rendering is cut where it appears. With
# a space, so that one sees whether the template trims messages.
_CUT_HERE = "CONTINUE_FINAL_MESSAGE_TAG "
MAX_SOURCE = 200_000  # characters; the longest have some 30,000


class ChatTemplate:
    """A compiled template. Thread-safe.

    `special_tokens` are variables of the template: bos_token, eos_token and the like. Raises
    ValueError for a template with a syntax error, and for one that is far too long.
    """

    def __init__(self, source: str, special_tokens: dict[str, str] | None = None) -> None:
        if len(source) > MAX_SOURCE:
            raise ValueError(f"it cannot be compiled: it has more than {MAX_SOURCE:,} characters")
        try:
            self._template = _environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ValueError(f"line {error.lineno}: {error.message}") from error
        except (RecursionError, SyntaxError, OverflowError, TemplateError) as error:
            raise ValueError(f"it cannot be compiled: {error}") from error
        self.source = source
        self.asks_for_date = "strftime_now" in source
        self._special_tokens = special_tokens or {}
        self._accepts = Accepts.probed(self._probe, source)
        self._efforts: dict[str, Effort] = {}  # level → its meaning

    def render(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        variables: Mapping[str, Any] | None = None,
        now: datetime | None = None,
    ) -> str:
        """The prompt. `continue_final_message` ends it right after the last message's text;
        `variables` are the template's own, such as enable_thinking; `now` is the time that the
        template may ask for.

        Raises BadRequest when the template refuses the messages, with the template's own words.
        """
        if not messages:
            raise BadRequest("messages must not be empty.", param="messages")
        if continue_final_message and add_generation_prompt:
            raise BadRequest(
                "continue_final_message and add_generation_prompt exclude each other.",
                param="continue_final_message",
            )
        for name in RESERVED:
            if variables and name in variables:
                raise BadRequest(
                    f"chat_template_kwargs cannot set {name!r}.", param="chat_template_kwargs"
                )
        chat = normalized(messages, self._accepts)
        final = _mark_end(chat[-1]) if continue_final_message else ""
        clock = {} if now is None else {"strftime_now": partial(_strftime, now)}
        text = self._render(
            chat, tools or None, add_generation_prompt, clock | dict(variables or {})
        )
        return _cut(text, final) if continue_final_message else text

    def effort(self, level: str) -> Effort:
        """What this level of `reasoning_effort` means here."""
        found = self._efforts.get(level)
        if found is None:
            found = effort(level, self.source, self._renders_with)
            if level in NEAREST:
                self._efforts[level] = found
        return found

    def _renders_with(self, variables: Mapping[str, Any]) -> bool:
        chat = normalized([{"role": "user", "content": "Hello"}], self._accepts)
        try:
            self._render(chat, None, True, variables)
        except BadRequest:
            return False
        return True

    def _render(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, Any],
    ) -> str:
        values = {
            **self._special_tokens,
            **variables,
            "messages": messages,
            "tools": tools,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return whole_characters(within_bounds(lambda: self._template.render(values)))
        except TemplateError as error:  # raise_exception() in the template, among others
            problem = error.message or type(error).__name__
            raise BadRequest(f"The model's chat template: {problem}", param="messages") from error
        except Exception as error:  # a template may fail in any way that an expression can
            raise BadRequest(
                f"The model's chat template cannot render these messages: {error}",
                param="messages",
            ) from error

    def _probe(self, messages: list[dict[str, Any]]) -> str | None:
        """The rendering of messages as they are; None when the template refuses them."""
        try:
            return self._render(messages, None, False, {})
        except BadRequest as error:
            if isinstance(error.__cause__, TooSlow):
                raise ValueError("it takes too long for a word") from error
            return None


def _mark_end(message: dict[str, Any]) -> str:
    """Marks the end of a message's text and returns the text without the mark."""
    content = message.get("content")
    if isinstance(content, str):
        message["content"] = content + _CUT_HERE
        return content
    for part in reversed(content or []):
        if isinstance(part.get("text"), str):
            text = part["text"]
            part["text"] = text + _CUT_HERE
            return text
    raise BadRequest("The final message has no text to be continued.", param="messages")


def _cut(rendered: str, final: str) -> str:
    mark = _CUT_HERE.strip()
    place = rendered.rfind(mark)
    if place < 0 or final.strip() not in rendered:
        raise BadRequest(
            "The final message cannot be continued: the model's chat template changes its text.",
            param="continue_final_message",
        )
    text = rendered[:place]
    trims = not rendered.startswith(_CUT_HERE, place)
    return text.rstrip() if trims else text


# ---- what templates may use


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`: marks what the model wrote, for training; here its
    content is just there."""

    tags = {"generation"}  # noqa: RUF012 (Jinja's own declaration)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

    def _content(self, caller: Any) -> str:
        return caller()


class _Namespace(Namespace):
    """Jinja's namespace(), without attributes that reach into Python."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # `self` may be an attribute's name
        for name in dict(*args[1:], **kwargs):
            _check_attribute(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_attribute(name)
        super().__setitem__(name, value)


def _check_attribute(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}")


class _Dict:
    """dict() and dict.fromkeys(), without the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Iterable[Any], value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own, without HTML escapes."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: Any) -> NoReturn:
    raise TemplateError(Sandbox.text(message))


def _strftime_now(form: str) -> str:
    return _strftime(datetime.now(), form)


def _strftime(now: datetime, form: str) -> str:
    if len(form) > 200 or re.search(r"\d{3}", form):  # a width of its own
        raise SecurityError("that is no form of a date")
    return now.strftime(form)


_environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
_environment.filters["tojson"] = with_small_numbers(_tojson)
_environment.globals |= {
    "raise_exception": _raise_exception,
    "strftime_now": _strftime_now,
    "dict": _Dict(),
    "namespace": _Namespace,
}
