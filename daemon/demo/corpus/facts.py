"""Questions about the demo model and fastmlx, each with its one answer.

The facts stand in world.txt, commands.txt and keys.txt; this module turns them into exchanges.
"""

import random

from .book import Section, questions, sections
from .phrases import ask
from .talk import Exchange, exchange


def facts(rng: random.Random) -> Exchange:
    """A question about fastmlx or about the model itself."""
    roll = rng.random()
    if roll < 0.5:
        return _world(rng)
    if roll < 0.75:
        return _command(rng, rng.choice(sections("commands")))
    return _key(rng, rng.choice(sections("keys")))


def _world(rng: random.Random) -> Exchange:
    fact = rng.choice(sections("world"))
    question = ask(rng, rng.choice(fact.patterns))
    answers = (fact.attributes["answer"],)
    return exchange(question, rng.choice(answers), f"The user asks about {fact.title}.")


def _command(rng: random.Random, command: Section) -> Exchange:
    name, usage, does = command.title, command.attributes["usage"], command.attributes["does"]
    if rng.random() < 0.35:
        question = ask(rng, rng.choice(questions("command_questions")), name=name)
        answer = f"`fastmlx {usage}` {does}."
        return exchange(question, answer, f"The user asks about the command {name}.")
    goal = rng.choice(command.patterns)
    question = ask(rng, rng.choice(questions("goal_questions")).replace("{goal}", goal))
    return exchange(
        question, f"Run `fastmlx {usage}`. It {does}.", f"The user needs the command {name}."
    )


def _key(rng: random.Random, key: Section) -> Exchange:
    roll = rng.random()
    title, does, default = key.title, key.attributes["does"], key.attributes.get("default")
    name = rng.choice((title, title, f"`{title}`", title.split(".")[-1], f"{title}:"))
    if roll < 0.3:
        question = ask(rng, rng.choice(questions("key_questions")), name=name)
        answer = f"`{title}` {does}."
    elif roll < 0.55 and default:
        question = ask(rng, rng.choice(questions("default_questions")), name=name)
        answer = f"The default of `{title}` is {default}."
    else:
        goal = rng.choice(key.patterns)
        pattern = rng.choice(questions("key_goal_questions"))
        question = ask(rng, pattern.replace("{goal}", goal))
        answer = f"Set `{title}` in config.yaml. It {does}."
    return exchange(question, answer, f"The user asks about the key {title}.")
