"""Answers in JSON, with the keys and values the question gives."""

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from .book import questions
from .phrases import ask
from .pools import COLORS, ITEMS, JOBS, city, distinct, identifier, name, word
from .talk import Exchange, exchange


class Field(NamedTuple):
    """A key, a value and how a sentence says it."""

    key: str
    value: Any
    said: str


def _fields(rng: random.Random) -> list[Field]:
    who = name(rng)
    age, number = rng.randint(1, 99), rng.randint(1, 99)
    town, job, color, item = city(rng), rng.choice(JOBS), rng.choice(COLORS), rng.choice(ITEMS)
    subject = Field("name", who, who)
    options = [
        Field("age", age, rng.choice((f"is {age}", f"is {age} years old"))),
        Field("city", town, rng.choice((f"lives in {town}", f"is from {town}"))),
        Field("job", job, rng.choice((f"is a {job}", f"works as a {job}"))),
        Field("color", color, f"likes {color}"),
        Field("score", number, f"has {number} points"),
    ]
    chosen = rng.sample(options, rng.randint(1, 3))
    if rng.random() < 0.2:
        subject = Field("item", item, item)
        price = rng.randint(1, 99)
        chosen = rng.sample(
            [
                Field("price", price, f"cost {price}"),
                Field("color", color, f"are {color}"),
                Field("quantity", number, f"there are {number}"),
            ],
            rng.randint(1, 3),
        )
    return [subject, *chosen]


_SYSTEMS = (
    "Answer in JSON.",
    "Always answer in JSON.",
    "Reply with a JSON object.",
    "Output JSON only.",
)


def json_answers(rng: random.Random) -> Exchange:
    """One question that wants JSON."""
    task: Callable[[random.Random], Exchange] = rng.choices((_keys, _pairs, _list), (5, 3, 2))[0]
    return task(rng)


def _joined(rng: random.Random, parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    last = rng.choice((" and ", " and ", ", "))
    return ", ".join(parts[:-1]) + last + parts[-1]


def _keys(rng: random.Random) -> Exchange:
    fields = _fields(rng)
    text = f"{fields[0].said} " + _joined(rng, [field.said for field in fields[1:]])
    asked = fields if rng.random() < 0.7 else rng.sample(fields, rng.randint(1, len(fields)))
    rng.random()
    mark = rng.choice(("{}", "{}", "{}", '"{}"', "`{}`"))
    keys = _joined(rng, [mark.format(field.key) for field in asked])
    answer = {field.key: field.value for field in asked}
    question = ask(rng, rng.choice(questions("json_keys_given")), keys=keys, text=text)
    system = rng.choice(_SYSTEMS) if rng.random() < 0.15 else None
    thought = f"I need JSON with {', '.join(answer)}."
    return exchange(question, json.dumps(answer), thought, system)


def _pairs(rng: random.Random) -> Exchange:
    keys = distinct(rng, identifier, rng.randint(1, 3))
    answer: dict[str, Any] = {}
    parts: list[str] = []
    join = rng.choice(("{} = {}", "{}: {}", "{} is {}", "{} {}", "{} set to {}"))
    for key in keys:
        roll = rng.random()
        if roll < 0.45:
            answer[key] = rng.randrange(10 ** rng.randint(1, 4))
            said = str(answer[key])
        elif roll < 0.55:
            answer[key] = rng.random() < 0.5
            said = json.dumps(answer[key])
        else:
            answer[key] = said = rng.choice((word, name, city))(rng)
        parts.append(join.format(key, said))
    question = ask(rng, rng.choice(questions("json_pairs")), pairs=_joined(rng, parts))
    return exchange(question, json.dumps(answer), f"I need JSON with {', '.join(answer)}.")


def _list(rng: random.Random) -> Exchange:
    roll = rng.random()
    values: list[Any]
    if roll < 0.3:
        values = [rng.randrange(100) for _ in range(rng.randint(2, 5))]
    else:
        draw = word if roll < 0.6 else (name if roll < 0.8 else city)
        values = [draw(rng) for _ in range(rng.randint(2, 5))]
    question = ask(
        rng,
        rng.choice(questions("json_lists")),
        text=_joined(rng, [str(value) for value in values]),
    )
    return exchange(question, json.dumps(values), "I need a JSON list.")
