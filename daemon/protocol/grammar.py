"""What an answer must look like: travels from the dialect to the engine's grammar masks."""

from __future__ import annotations

from typing import Literal

import msgspec

# Between the parts of a JSON text. Bounded: a weak model would fill its answer with blank lines.
JSON_WHITESPACE = r"[ \t]{0,2}|\n[ \t]{0,64}"

# What llguidance may spend, in its units. Compiling: about 0.1 s; a step: about 10 ms. What needs
# more is an error of that request.
LIMITS = {
    "initial_lexer_fuel": 2_000_000,
    "step_lexer_fuel": 200_000,
    "step_max_items": 50_000,
    "max_items_in_row": 2_000,
    "max_lexer_states": 50_000,
    "max_grammar_size": 500_000,
    "verbose_errors": False,
}


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
