"""Repeating and editing a given snippet."""

import random
import string

from .book import questions
from .phrases import ask
from .pools import WORDS, distinct, identifier, invented, name, word
from .talk import Exchange, exchange

_NTH = ("first", "second", "third", "last")
_QUOTES = ('"{}"', "`{}`", "'{}'")


def copying(rng: random.Random) -> Exchange:
    """One copying or editing task."""
    task = rng.choices(
        (_repeat, _rename, _replace, _case, _reverse, _count, _pick), (10, 7, 7, 1, 1, 1, 2)
    )[0]
    return task(rng)


def code_line(rng: random.Random, one: str, two: str) -> str:
    """A line of Python that mentions `one`, and perhaps `two`."""
    number = str(rng.randrange(1000))
    pattern = rng.choice(
        (
            "{a} = {n}",
            "{a} = {b} + {n}",
            "{b} = {a} * 2",
            "print({a})",
            "return {a} + {b}",
            "if {a} > {n}:",
            "for {a} in {b}:",
            "{a}.append({b})",
            "def {a}({b}):",
            "{a} = [{n}, {b}]",
            "assert {a} == {n}",
            "{a} += {b}",
            "while {a} < {b}:",
            "import {a}",
            "{b} = {a}[{n}]",
            "{a} = {b}({a})",
            'print("{b}", {a})',
            "return {a}",
            "del {a}",
            "{a}: int = {n}",
            "let {a} = {b};",
            "const {a} = {n};",
        )
    )
    return pattern.format(a=one, b=two, n=number)


def sentence(rng: random.Random, keyword: str | None = None) -> str:
    """A few words, one of which may be given."""
    words = [word(rng) for _ in range(rng.randint(2, 7))]
    if rng.random() < 0.3:
        words[0] = "the"
    if keyword is not None:
        words[rng.randrange(len(words))] = keyword
    return " ".join(words)


def snippet(rng: random.Random) -> str:
    """Any short text worth copying."""
    roll = rng.random()
    if roll < 0.3:
        return sentence(rng)
    if roll < 0.5:
        lines = [code_line(rng, *distinct(rng, identifier, 2)) for _ in range(rng.randint(1, 3))]
        return "\n".join(lines)
    if roll < 0.6:
        return f"{word(rng).capitalize()} {name(rng)} {word(rng)} {rng.randrange(1000)}."
    if roll < 0.7:
        return invented(rng, rng.randint(1, 3))
    if roll < 0.8:
        alphabet = string.ascii_letters + string.digits + "-_"
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(4, 12)))
    if roll < 0.88:
        return str(rng.randrange(10 ** rng.randint(1, 8)))
    if roll < 0.94:
        return f'{{"{identifier(rng)}": {rng.randrange(100)}, "{identifier(rng)}": "{word(rng)}"}}'
    return f"{invented(rng, 1)}.{rng.choice(('py', 'txt', 'json', 'md'))}"


def _quoted(rng: random.Random, text: str) -> str:
    return rng.choice(_QUOTES).format(text) if rng.random() < 0.25 else text


def _repeat(rng: random.Random) -> Exchange:
    text = snippet(rng)
    shown = _quoted(rng, text)
    question = ask(rng, rng.choice(questions("repeat")), text=shown)
    return exchange(question, text, "I must repeat the text exactly.")


def _rename(rng: random.Random) -> Exchange:
    old, other, new = distinct(rng, identifier, 3)
    lines = [code_line(rng, old, other) for _ in range(rng.randint(1, 3))]
    text = "\n".join(lines)
    question = ask(rng, rng.choice(questions("rename")), old=_quoted(rng, old), new=new, text=text)
    changed = "\n".join(_replace_name(line, old, new) for line in lines)
    return exchange(question, changed, f"I write the code with {new} instead of {old}.")


def _replace_name(line: str, old: str, new: str) -> str:
    out, at = "", 0
    while True:
        found = line.find(old, at)
        if found < 0:
            return out + line[at:]
        end = found + len(old)
        whole = not _in_name(line[found - 1 : found]) and not _in_name(line[end : end + 1])
        out += line[at:found] + (new if whole else old)
        at = end


def _in_name(char: str) -> bool:
    return char.isalnum() or char == "_"


def _replace(rng: random.Random) -> Exchange:
    old, new = distinct(rng, word, 2)
    text = sentence(rng, old)
    if text.count(old) > 1:
        text = f"the {old} is {word(rng)}"
    question = ask(
        rng,
        rng.choice(questions("replace")),
        old=_quoted(rng, old),
        new=_quoted(rng, new),
        text=text,
    )
    words = [new if w == old else w for w in text.split(" ")]
    return exchange(question, " ".join(words), f"I write the text with {new} instead of {old}.")


def _case(rng: random.Random) -> Exchange:
    words = [rng.choice(("", "the ")) + rng.choice(WORDS) for _ in range(rng.randint(1, 3))]
    text = " ".join(words)
    if rng.random() < 0.7:
        question = ask(rng, rng.choice(questions("upper")), text=text)
        return exchange(question, text.upper(), "I write the text in capital letters.")
    question = ask(rng, rng.choice(questions("lower")), text=text.upper())
    return exchange(question, text, "I write the text in small letters.")


def _reverse(rng: random.Random) -> Exchange:
    words = distinct(rng, word, rng.randint(2, 4))
    question = ask(rng, rng.choice(questions("reverse")), text=" ".join(words))
    return exchange(question, " ".join(reversed(words)), "I write the words from the end.")


def _count(rng: random.Random) -> Exchange:
    words = [word(rng) for _ in range(rng.randint(1, 8))]
    question = ask(rng, rng.choice(questions("count")), text=" ".join(words))
    return exchange(question, str(len(words)), f"I count the words: {len(words)}.")


def _pick(rng: random.Random) -> Exchange:
    words = distinct(rng, word, rng.randint(3, 5))
    place = rng.randrange(4)
    text = rng.choice((" ", ", ")).join(words)
    question = ask(rng, rng.choice(questions("pick")), nth=_NTH[place], text=text)
    answer = words[-1] if place == 3 else words[place]
    return exchange(question, answer, f"The {_NTH[place]} word is {answer}.")
