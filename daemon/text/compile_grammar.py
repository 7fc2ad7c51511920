"""`python -m fastmlx.daemon.text.compile_grammar`: tells what is wrong with grammars, one after the
other, as `grammar_checker` asks.

A process of its own: what a client sent may be made to compile for years, to fill the memory or to
overflow llguidance's stack, and no thread can be stopped. On stdin and stdout are JSON lines,
[[kind, source, lenient], …] and [number, place, message] of the first that is wrong, or null.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from ..protocol.grammar import JSON_WHITESPACE, LIMITS

CPU_S = 2.0  # for all grammars of a request
MEMORY_BYTES = 2 << 30
IDLE_S = 120.0  # without a question; the next one starts another process
LONGEST = 1000  # characters of a message
STEPS = 64  # in which a grammar is tried
PLACE_S = 0.5  # to find where in a schema the fault lies

_BRANCHES = ("$defs", "definitions", "properties", "patternProperties", "dependentSchemas")
_SINGLE = ("items", "additionalProperties", "contains", "propertyNames", "if", "then", "else")
_LISTS = ("prefixItems", "anyOf", "oneOf", "allOf")


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):  # a smaller one holds, or macOS
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while select.select([sys.stdin], [], [], IDLE_S)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        # Nobody handles SIGPROF: it ends the process, also in the middle of llguidance.
        signal.setitimer(signal.ITIMER_PROF, CPU_S)
        found = first_fault(json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def first_fault(grammars: list[tuple[str, str, bool]]) -> tuple[int, str, str] | None:
    """(which one is wrong, the place within its schema, what)"""
    for number, grammar in enumerate(grammars):
        fault = _fault(*grammar)
        if fault is not None:
            place, message = fault
            return number, _short(place), message[:LONGEST]
    return None


def _fault(kind: str, source: str, lenient: bool) -> tuple[str, str] | None:
    from llguidance import LLMatcher

    if kind == "json_schema":
        schema = json.loads(source)
        if message := _schema_error(schema, lenient):
            return _place(schema, message, lenient), message
        compiled = _compiled(schema, lenient)
    elif kind == "regex":
        compiled = LLMatcher.grammar_from_regex(source)
    else:
        compiled = LLMatcher.grammar_from_lark(source)
    message = _plain(LLMatcher.validate_grammar(compiled)) or _stumbles(compiled)
    return ("", message) if message else None


def _short(place: str) -> str:
    return place if len(place) <= 200 else f"{place[:100]}…"


def _stumbles(compiled: str) -> str:
    """What goes wrong in the first steps of following a grammar, byte by byte."""
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

    tokenizer = LLTokenizer("byte")
    matcher = LLMatcher(tokenizer, compiled, log_level=0, limits=LLParserLimits(**LIMITS))
    chance = random.Random(1)  # noqa: S311
    for _ in range(STEPS):
        mask = matcher.compute_bitmask()
        allowed = [i for i in range(256) if mask[i >> 3] >> (i & 7) & 1]
        if matcher.is_error() or matcher.is_stopped() or not allowed:
            break
        matcher.consume_token(chance.choice(allowed))
    return _plain(matcher.get_error()) if matcher.is_error() else ""


def _schema_error(schema: Any, lenient: bool) -> str:
    from llguidance import LLMatcher

    try:
        return _plain(LLMatcher.validate_grammar(_compiled(schema, lenient)))
    except ValueError as error:
        return _plain(str(error))


def _compiled(schema: Any, lenient: bool) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(
        json.dumps(schema),
        overrides={"lenient": lenient, "whitespace_pattern": JSON_WHITESPACE},
    )


def _plain(message: str) -> str:
    if "panic" in message:
        return "it is too large to compile"
    if message == "NoExtensionBias":
        return "nothing can satisfy it"
    return " ".join(message.replace("<non-verbose/>", "").split()).rstrip(".")


def _place(schema: Any, message: str, lenient: bool) -> str:
    """The path of the smallest part of the schema that has this fault by itself."""
    if not isinstance(schema, dict):
        return ""
    shared = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    path, left = "", schema
    until = time.monotonic() + PLACE_S
    while isinstance(left, dict):
        for step, part in _parts(left):
            if time.monotonic() > until:
                return path
            alone = shared | part if isinstance(part, dict) else part
            if _schema_error(alone, lenient) == message:
                path, left = path + step, part
                break
        else:
            break
    return path


def _parts(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _BRANCHES:
        if isinstance(schema.get(key), dict):
            yield from ((f".{key}.{name}", part) for name, part in schema[key].items())
    yield from ((f".{key}", schema[key]) for key in _SINGLE if isinstance(schema.get(key), dict))
    for key in _LISTS:
        if isinstance(schema.get(key), list):
            yield from ((f".{key}[{i}]", part) for i, part in enumerate(schema[key]))


if __name__ == "__main__":
    main()
