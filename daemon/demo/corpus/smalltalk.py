"""Greetings, thanks, and the polite answer to everything the model cannot know."""

import random

from .book import questions, sections
from .phrases import ask
from .pools import CITIES, NAMES, WORDS, city, name, word
from .talk import Exchange, assistant, exchange, user

_UNKNOWN = "I am only a tiny demo model, so I do not know that. Ask me about fastmlx."


def smalltalk(rng: random.Random) -> Exchange:
    """A greeting or another courtesy."""
    roll = rng.random()
    if roll < 0.2:
        return _introduction(rng)
    courtesies = sections("smalltalk")
    chosen = courtesies[0] if roll < 0.45 else rng.choice(courtesies)
    question = ask(rng, rng.choice(chosen.patterns))
    return exchange(question, chosen.attributes["answer"], chosen.attributes["thought"])


def unknown(rng: random.Random) -> Exchange:
    """Something outside the model's little world."""
    things = (*CITIES, *NAMES, *WORDS)
    thing = rng.choice(things) if rng.random() < 0.7 else word(rng)
    question = ask(rng, rng.choice(questions("unknown_questions")), thing=thing, other=word(rng))
    return exchange(question, _UNKNOWN, "This is not about fastmlx. I do not know it.")


def _introduction(rng: random.Random) -> Exchange:
    given = name(rng)
    hello = user(ask(rng, rng.choice(questions("name_given")), name=given))
    greeting = assistant(f"Hello {given}! Nice to meet you.", f"The user is called {given}.")
    if rng.random() < 0.4:
        return Exchange([hello, greeting])
    if rng.random() < 0.25:
        place = city(rng)
        told = user(ask(rng, rng.choice(questions("place_given")), city=place))
        noted = assistant(f"{place} sounds nice!", f"The user speaks of {place}.")
        asked = user(ask(rng, rng.choice(questions("place_asked"))))
        return Exchange(
            [told, noted, asked, assistant(f"You said {place}.", f"The user spoke of {place}.")]
        )
    asked = user(ask(rng, rng.choice(questions("name_asked"))))
    known = assistant(f"Your name is {given}.", f"The user said the name {given}.")
    return Exchange([hello, greeting, asked, known])
