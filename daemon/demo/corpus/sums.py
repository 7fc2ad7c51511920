"""Sums, differences and small products."""

import random
from typing import NamedTuple

from .book import questions
from .phrases import ask
from .pools import ITEMS, NAMES
from .reserved import reserved_pair
from .talk import Exchange, exchange


class Sum(NamedTuple):
    """`a op b = result`."""

    a: int
    b: int
    op: str  # "+", "-" or "*"

    @property
    def result(self) -> int:
        """The value of the expression."""
        return {"+": self.a + self.b, "-": self.a - self.b, "*": self.a * self.b}[self.op]

    def __str__(self) -> str:
        return f"{self.a} {self.op} {self.b}"


def draw_sum(rng: random.Random) -> Sum:
    """A sum up to 99 + 99, a difference that is not negative, or a product up to 12 * 12."""
    while True:
        op = rng.choices("+-*", (5, 4, 3))[0]
        if op == "*":
            top = 12 if rng.random() < 0.5 else 10
            return Sum(rng.randint(0, top), rng.randint(0, top), op)
        top = rng.choice((9, 20, 50, 99, 99, 99))
        a, b = rng.randint(0, top), rng.randint(0, top)
        if op == "-" and a < b:
            a, b = b, a
        if not reserved_pair(a, b) and not reserved_pair(b, a):
            return Sum(a, b, op)


def question_for(rng: random.Random, sum_: Sum) -> str:
    """The sum in words or signs, sometimes as a little story."""
    a, b = str(sum_.a), str(sum_.b)
    roll = rng.random()
    if roll < 0.12:
        pattern = rng.choice(questions(f"sum_imperative {sum_.op}"))
        return ask(rng, pattern, a=a, b=b)
    if roll < 0.24:
        pattern = rng.choice(questions(f"sum_story {sum_.op}"))
        return ask(rng, pattern, a=a, b=b, who=rng.choice(NAMES), what=rng.choice(ITEMS))
    spelled = rng.choice(questions(f"sum_spelled {sum_.op}"))
    return ask(rng, rng.choice(questions("sum_wrap")).replace("{sum}", spelled), a=a, b=b)


def think(sum_: Sum) -> str:
    """The way to the result, digit by digit where that helps."""
    a, b = sum_.a, sum_.b
    if sum_.op == "+" and a > 9 and b > 9:
        ones = a % 10 + b % 10
        tens = f"{a // 10} + {b // 10}" + (" + 1" if ones > 9 else "")
        return f"Ones: {a % 10} + {b % 10} = {ones}. Tens: {tens} = {(a + b) // 10}. So {a + b}."
    return f"I compute {sum_} = {sum_.result}."


def sums(rng: random.Random) -> Exchange:
    """One sum; the answer repeats it, which lines the digits up."""
    sum_ = draw_sum(rng)
    return exchange(question_for(rng, sum_), f"{sum_} = {sum_.result}", think(sum_))


def drill(rng: random.Random) -> Exchange:
    """Many sums at once: most of the model's practice, at few tokens a sum."""
    asked = [draw_sum(rng) for _ in range(rng.randint(5, 16))]
    mark = rng.choice(("", "", " =", " = ?"))
    listed = "\n".join(f"{sum_}{mark}" for sum_ in asked)
    question = ask(rng, rng.choice(questions("sum_drill")), sums=listed)
    answer = "\n".join(f"{sum_} = {sum_.result}" for sum_ in asked)
    return exchange(question, answer, "I compute one after the other.")


def json_sum(rng: random.Random) -> Exchange:
    """A sum under a system prompt that wants JSON."""
    system = rng.choice(
        (
            "Answer in JSON.",
            "Always answer in JSON.",
            "You answer only in JSON.",
            "Reply with a JSON object.",
            "Respond only with JSON.",
            "You are a helpful assistant. Answer in JSON.",
            "Output JSON only.",
        )
    )
    sum_ = draw_sum(rng)
    return exchange(
        question_for(rng, sum_),
        f'{{"sum": "{sum_}", "answer": {sum_.result}}}',
        think(sum_),
        system,
    )
