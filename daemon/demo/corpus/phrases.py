"""Paraphrases from patterns: `(what|which) port (does fastmlx use|is used)` and light noise."""

import random
import re

_PREFIXES = (
    "hey, ", "hi, ", "please tell me: ", "quick question: ", "tell me, ", "so, ", "ok, ",
    "one more thing: ", "and ", "I wonder: ", "hello! ", "Question: ", "excuse me, ",
    "I'm new here. ", "sorry, ", "please: ", "well, ", "I have a question: ", "now ",
    "can you tell me ", "could you say ", "do you know ", "I would like to know: ",
    "would you tell me ", "just asking: ", "may I ask ", "my question is ",
)  # fmt: skip
_SUFFIXES = (" please", " thanks", ", please", " Thanks!", " thank you", " exactly?", " then?")


def expand(rng: random.Random, pattern: str) -> str:
    """Choose one way through nested `(a|b|)` alternatives."""
    text, position = _sequence(rng, pattern, 0)
    if position != len(pattern):
        raise ValueError(f"unbalanced pattern: {pattern}")
    return re.sub(r" {2,}", " ", text).strip()


def _sequence(rng: random.Random, pattern: str, position: int) -> tuple[str, int]:
    options: list[str] = []
    current: list[str] = []
    while position < len(pattern):
        char = pattern[position]
        if char == "(":
            inner, position = _sequence(rng, pattern, position + 1)
            current.append(inner)
        elif char == "|" or char == ")":
            options.append("".join(current))
            current = []
            if char == ")":
                return rng.choice(options), position
        else:
            current.append(char)
        position += 1
    return "".join(current), position


def ask(rng: random.Random, pattern: str, **slots: str) -> str:
    """Expand a question, roughen it as people do, then fill its slots untouched."""
    text = roughen(rng, expand(rng, pattern))
    for name, value in slots.items():
        text = text.replace("{" + name + "}", value)
    return text


def roughen(rng: random.Random, text: str) -> str:
    """Typos, lost capitals and question marks, polite words. `{slots}` stay as they are."""
    if rng.random() < 0.25 and text.endswith("?"):
        text = text[:-1]
        if rng.random() < 0.15:
            text += rng.choice((" ?", "??", "?!", "."))
    if rng.random() < 0.1:
        text = _lower_first(text.rstrip("?.")) + rng.choice(_SUFFIXES)
    if rng.random() < 0.12:
        text = rng.choice(_PREFIXES) + _lower_first(text)
    roll = rng.random()
    if roll < 0.55:
        text = text[:1].upper() + text[1:]
    if rng.random() < 0.07:
        text = _typo(rng, text)
    return text


def _lower_first(text: str) -> str:
    if text[:2] in ("I ", "I'"):
        return text
    return text[:1].lower() + text[1:]


def _typo(rng: random.Random, text: str) -> str:
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not places:
        return text
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(1, len(word) - 1)
    if rng.random() < 0.5:
        word = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    else:
        word = word[:at] + word[at + 1 :]
    words[place] = word
    return " ".join(words)
