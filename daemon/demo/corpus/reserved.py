"""What the corpus may never say, so that the tests can ask it.

A generated conversation in which a reserved phrase, value or sum occurs is thrown away
(`is_reserved`), wherever it came from: held-out questions are unseen by construction.
"""

import re

# Values: never drawn, never rendered.
VALUES = (
    "Lisbon", "Nairobi", "Reykjavik", "Quito", "Helsinki", "Ingrid", "Tobias", "Farid",
    "Marisol", "velvet", "lantern", "gravel", "tundra", "invoice_total", "retry_count",
    "pixel_width", "Asia/Tokyo", "saxophone", "cinnamon",
)  # fmt: skip

# Questions: no user message may contain one of these (compared in lower case).
PHRASES = (
    "on which port can i reach",
    "may i ask who you are",
    "in what file do i put my settings",
    "let a model stay in memory forever",
    "get hold of a model from the hub",
    "see whether my config file is valid",
    "good morning to you",
    "what happens to a model that nobody uses",
    "where can i look at the dashboard",
    "what is the purpose of the idle_timeout",
    "how would you describe fastmlx",
    "follow the logs live",
)

_SUM = re.compile(r"(\d+) *(?:\+|-|\*|x|plus|minus|times|and|from) *(\d+)")
_VALUES = re.compile("|".join(re.escape(value) for value in VALUES), re.IGNORECASE)


def reserved_pair(a: int, b: int) -> bool:
    """One pair of numbers in 23 is never added, subtracted or multiplied in the corpus."""
    return a > 9 and b > 9 and (31 * a + 17 * b) % 23 == 0


def is_reserved(text: str) -> bool:
    """Whether a rendered conversation contains anything that is kept for the tests."""
    if _VALUES.search(text):
        return True
    lowered = text.lower()
    if any(phrase in lowered for phrase in PHRASES):
        return True
    return any(reserved_pair(int(a), int(b)) for a, b in _SUM.findall(text))
