"""What an answer must look like: `response_format`, vLLM's `structured_outputs` and its older
`guided_*` fields, llama-server's `json_schema` and `grammar`.

Sources: https://platform.openai.com/docs/guides/structured-outputs,
https://docs.vllm.ai/en/latest/features/structured_outputs.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..protocol.errors import BadRequest
from ..protocol.grammar import Grammar
from ..text.grammar import of_choices, of_lark_or_gbnf

MAX_CHOICES = 4096
_ANY_OBJECT = Grammar("json_schema", '{"type": "object"}')
# field → the key of structured_outputs that means the same
_ALONE = {
    "guided_json": "json",
    "guided_regex": "regex",
    "guided_choice": "choice",
    "guided_grammar": "grammar",
    "json_schema": "json",
    "grammar": "grammar",
}
# Keys of structured_outputs that change nothing here: whitespace is bounded in any case.
_HARMLESS = {
    "disable_any_whitespace",
    "disable_fallback",
    "disable_additional_properties",
    "_backend",
}

STRUCTURED = ("response_format", "structured_outputs", *_ALONE)  # the fields read here


class Structured(NamedTuple):
    """A grammar, and the field that asked for it."""

    grammar: Grammar
    param: str


def read_structured(fields: Mapping[str, Any]) -> Structured | None:
    """The grammar that the body asks for. Raises BadRequest; whether a schema, regex or grammar
    compiles is found out later, by the task."""
    found: list[Structured] = []
    if fields.get("response_format") is not None:
        found += _response_format(fields["response_format"])
    if fields.get("structured_outputs") is not None:
        found += _structured_outputs(fields["structured_outputs"])
    for name, key in _ALONE.items():
        if fields.get(name) is not None and fields[name] != "":
            found.append(Structured(_grammar(key, fields[name], name), name))
    if len(found) > 1:
        raise BadRequest(
            f"{found[0].param} and {found[1].param} exclude each other.", param=found[1].param
        )
    return found[0] if found else None


def _response_format(value: Any) -> list[Structured]:
    kind = value.get("type") if isinstance(value, dict) else None
    match kind:
        case "text":
            return []
        case "json_object":
            # llama-server takes a schema here, too.
            schema = value.get("schema")
            if schema is None:
                return [Structured(_ANY_OBJECT, "response_format")]
            return [Structured(_schema(schema, "response_format.schema"), "response_format.schema")]
        case "json_schema":
            asked = value.get("json_schema")
            where = "response_format.json_schema"
            if not isinstance(asked, dict):
                raise BadRequest(f"{where} must be an object with name and schema.", param=where)
            where += ".schema"
            lenient = asked.get("strict") is not True
            return [Structured(_schema(asked.get("schema"), where, lenient=lenient), where)]
    raise BadRequest(
        "response_format.type must be text, json_object or json_schema.",
        param="response_format.type",
    )


def _structured_outputs(value: Any) -> list[Structured]:
    if not isinstance(value, dict):
        raise BadRequest("structured_outputs must be an object.", param="structured_outputs")
    found: list[Structured] = []
    for key, asked in value.items():
        if asked is None or key in _HARMLESS:
            continue
        param = f"structured_outputs.{key}"
        if key == "json_object":
            if asked is True:
                found.append(Structured(_ANY_OBJECT, param))
        elif key in _ALONE.values():
            found.append(Structured(_grammar(key, asked, param), param))
        elif key in ("structural_tag", "whitespace_pattern"):
            raise BadRequest(f"{param} is not supported by fastmlx.", param=param)
    return found


def _grammar(key: str, value: Any, param: str) -> Grammar:
    if key == "json":
        return _schema(value, param)
    if key == "choice":
        good = isinstance(value, list) and value and all(isinstance(v, str) and v for v in value)
        if not good or len(value) > MAX_CHOICES:
            raise BadRequest(
                f"{param} must be a list of at most {MAX_CHOICES} texts, none empty.", param=param
            )
        return of_choices(value)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{param} must be a string.", param=param)
    if key == "regex":
        return Grammar("regex", value)
    try:
        return of_lark_or_gbnf(value)
    except ValueError as error:
        raise BadRequest(f"{param}: {error}.", param=param) from None


def _schema(value: Any, param: str, *, lenient: bool = False) -> Grammar:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"{param} is not valid JSON: {error}.", param=param) from None
    if not isinstance(value, dict | bool):
        raise BadRequest(f"{param} must be a JSON schema (an object).", param=param)
    return Grammar("json_schema", json.dumps(value), lenient=lenient)
