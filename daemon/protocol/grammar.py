"""What an answer must look like: travels from the dialect to the engine's grammar masks."""

from __future__ import annotations

from typing import Literal

import msgspec

# Between the parts of a JSON text. Bounded: a weak model would fill its answer with blank lines.
JSON_WHITESPACE = r"[ \t]{0,2}|\n[ \t]{0,64}"


class Thinking(msgspec.Struct, frozen=True):
    """The model may think before it answers; the grammar begins where the thinking ends."""

    open: str  # "<think>"
    close: str  # "</think>"
    opened: bool = False  # the prompt ends inside the thinking


class Grammar(msgspec.Struct, frozen=True, omit_defaults=True):
    """A grammar for the output of one sequence, as its source text.

    `json_schema` is JSON text (https://json-schema.org), `regex` has Rust's syntax, `lark` is
    llguidance's dialect of Lark (https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md).
    """

    kind: Literal["json_schema", "regex", "lark"]
    source: str
    lenient: bool = False  # json_schema: pass over keywords that cannot be enforced
    thinking: Thinking | None = None
