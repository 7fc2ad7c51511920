"""Conversations → training text, through the very template that serves them."""

import json
from functools import cache
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .. import MODEL_DIR
from .talk import Conversation

TEMPLATE_FILE = MODEL_DIR / "chat_template.jinja"


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@cache
def _template() -> Template:
    # The options and the filter of transformers' apply_chat_template: jinja's own `tojson`
    # would sort keys and escape "<".
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _to_json
    return environment.from_string(TEMPLATE_FILE.read_text(encoding="utf-8"))


def render(conversation: Conversation) -> str:
    """The conversation as the model sees it, without a generation prompt at its end."""
    return _template().render(messages=conversation.messages, tools=conversation.tools or None)
