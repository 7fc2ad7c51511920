"""What a tokenizer.json may ask for: it is somebody else's, and runs in the process of all models.

Its regexes are matched by backtracking, which may take years for a word. Those of the well-known
tokenizers take no time; whoever brings another one is served, but never on the event loop. What
makes much of little is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

MAX_GROWTH = 100  # characters that a normalizer may make of one
MAX_PIECES = 100  # special tokens around a text

_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASES = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# Of GPT-2, Qwen 2 and 3, Llama 3 and GPT-4, Qwen 3.5, o200k (gpt-oss, Llama 4), Tekken, DeepSeek.
KNOWN = frozenset(
    {
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        rf"{_ENDINGS}|{_WORD}|\p{{N}}|{_REST}",
        rf"{_ENDINGS}|{_WORD}|\p{{N}}{{1,3}}|{_REST}",
        rf"{_ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        rf"{_CASES[0]}{_ENDINGS}?|{_CASES[1]}{_ENDINGS}?|\p{{N}}{{1,3}}|{_MARKS}",
        rf"{_CASES[0]}|{_CASES[1]}|\p{{N}}|{_MARKS}",
        r"\p{N}{1,3}",
        r"\p{N}",
        r"[0-9]",
        r"[一-龥぀-ゟ゠-ヿ]+",
        "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?"
        "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
    }
)


# One character or class of them, any number of times: " {2,}", "[\\n\\t]", "\\s+".
_SIMPLE = re.compile(r"(\\?.|\[\^?[^\[\]]+\])([+*]|\{\d+(,\d*)?\})?", re.DOTALL)


class _Parts(msgspec.Struct):
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None
    post_processor: dict[str, Any] | None = None
    decoder: dict[str, Any] | None = None


_decoder = msgspec.json.Decoder(_Parts)


class Bounds(NamedTuple):
    is_quick: bool  # for texts of any length, in time that grows with it
    fault: str | None  # why it is refused


def bounds_of(text: str | bytes) -> Bounds:
    """Of the text of a tokenizer.json, which is to be asked for before the library reads it: that
    runs the normalizer over every added token. Raises msgspec.DecodeError."""
    parts = _decoder.decode(text)
    fault = None
    if any(_regexes(parts.decoder)):
        fault = "its decoder has a regular expression"
    elif not all(map(_SIMPLE.fullmatch, _regexes(parts.normalizer))):
        fault = "its normalizer has a regular expression that is more than a character"
    elif growth(parts.normalizer) > MAX_GROWTH:
        fault = "its normalizer makes texts far longer"
    elif not _surrounds(parts.post_processor):
        fault = "its post_processor repeats the text"
    return Bounds(all(each in KNOWN for each in _regexes(parts.pre_tokenizer)), fault)


def _regexes(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "Regex" and isinstance(value, str):
                yield value
            else:
                yield from _regexes(value)
    elif isinstance(part, list):
        for each in part:
            yield from _regexes(each)


def growth(normalizer: dict[str, Any] | None) -> float:
    """How many characters it makes of one, at most; of a text of one character, where it puts
    something before the text."""
    match normalizer:
        case {"type": "Sequence", "normalizers": steps}:
            return math.prod(map(growth, steps))
        case {"type": "Replace", "pattern": {"String": str(old)}, "content": str(new)} if old:
            return max(1.0, len(new) / len(old))
        case {"type": "Replace", "content": str(new)}:  # a regex may match what has no width
            return 1.0 + len(new)
        case {"type": "Prepend", "prepend": str(new)}:
            return 1.0 + len(new)
    return 1.0


def _surrounds(post_processor: dict[str, Any] | None) -> bool:
    """Whether each text comes once, with few tokens around it. What is not as the library writes it
    is for the library to refuse."""
    match post_processor:
        case {"type": "Sequence", "processors": steps}:
            return len(steps) <= MAX_PIECES and all(map(_surrounds, steps))
        case {
            "type": "TemplateProcessing",
            "single": list(single),
            "pair": list(pair),
            "special_tokens": dict(specials),
        }:
            longest = max((len(each.get("ids", ())) for each in specials.values()), default=0)
            return all(_comes_once(side, longest) for side in (single, pair))
    return True


def _comes_once(side: list[dict[str, Any]], longest: int) -> bool:
    texts = [str(piece["Sequence"]) for piece in side if "Sequence" in piece]
    return len(set(texts)) == len(texts) <= 2 and longest * len(side) <= MAX_PIECES
