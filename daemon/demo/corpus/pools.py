"""Names, places, words and identifiers that fill the slots, none of them reserved."""

import random

from .reserved import VALUES

_RESERVED = {value.lower() for value in VALUES}


def _pool(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split() if word.lower() not in _RESERVED)


NAMES = _pool("""
Anna Bob Clara David Emma Frank Grace Henry Iris Jack Kate Leo Maria Nina Oscar Paul Rosa Sam Tina
Victor Wendy Yusuf Zoe Alice Ben Carol Dan Eva Felix Gina Hugo Ivan Julia Karl Lena Max Nora Otto
Peter Quinn Rita Simon Tom Ursula Vera Will Xavier Yara Aisha Bruno Chen Diego Elif Fatima Goran
Hana Igor Jamal Kenji Lucia Mateo Noor Olga Pedro Ravi Sofia Tariq Uma Viktor Wei Yuki Zara Amir
Bella Carlos Dora Erik Fiona George Helen Isaac Jonas Kira Liam Mia Nathan Olivia Priya Ruth Sara
Theo Vince Walter Adam Lucy Mark Nick Paula Rachel Steve Laura Martin Sven Milan Petra Astrid John
""")
CITIES = _pool("""
Paris London Berlin Rome Madrid Tokyo Oslo Vienna Prague Dublin Athens Cairo Delhi Mumbai Beijing
Seoul Sydney Toronto Chicago Boston Denver Miami Seattle Dallas Austin Houston Lima Bogota Havana
Warsaw Budapest Zurich Geneva Munich Hamburg Milan Naples Venice Porto Seville Valencia Lyon Nice
Brussels Amsterdam Stockholm Copenhagen Moscow Istanbul Ankara Dubai Doha Riyadh Tehran Karachi
Lahore Dhaka Bangkok Hanoi Jakarta Manila Taipei Osaka Kyoto Shanghai Singapore Melbourne Perth
Auckland Honolulu Vancouver Montreal Ottawa Lagos Accra Tunis Algiers Casablanca Dakar Kampala
Bern Basel Graz Krakow Riga Vilnius Tallinn Minsk Kyiv Bucharest Sofia Belgrade Zagreb Santiago
New_York San_Francisco Los_Angeles Mexico_City Cape_Town Buenos_Aires Hong_Kong Tel_Aviv New_Delhi
""")
ZONES = _pool("""
UTC GMT CET EST PST Europe/Paris Europe/London Europe/Berlin Europe/Rome America/Chicago
America/Denver Asia/Seoul Asia/Dubai Australia/Sydney Africa/Cairo Europe/Oslo Asia/Delhi
America/Lima Asia/Bangkok Europe/Madrid America/Toronto Pacific/Auckland Asia/Manila Europe/Vienna
""")
WORDS = _pool("""
apple river stone cloud green table house light water bread music paper chair horse tiger ocean
silver garden window mountain yellow orange purple winter summer spring autumn coffee butter sugar
pepper salt honey forest desert island bridge castle tower street market school doctor teacher
farmer baker pilot sailor poet king queen dragon wizard robot rocket planet star moon sun wind rain
snow storm thunder fire earth iron gold copper glass wood leather cotton silk wool button pocket
mirror candle basket bottle kettle spoon knife plate bowl cup pen pencil book letter story song
dance game ball kite train truck bus ship boat plane wheel engine motor hammer nail screw rope
ladder fence gate door key lock bell clock watch phone radio camera lamp desk shelf carpet pillow
blanket shirt jacket hat shoe glove scarf ring coin map flag drum violin piano guitar flute trumpet
cat dog fox wolf bear deer rabbit mouse frog snake eagle owl duck goose swan fish whale shark crab
lemon cherry peach plum grape melon banana carrot potato onion tomato bean rice corn wheat oat
happy quick lazy brave quiet loud soft heavy dark bright cold warm fresh sweet sour old young new
red blue black white brown grey pink small big tall short long wide narrow deep round square sharp
""")
COLORS = _pool("red blue green yellow black white brown grey pink orange purple silver gold")
JOBS = _pool("""
doctor teacher farmer baker pilot sailor poet nurse lawyer painter singer writer actor engineer
chef clerk driver gardener judge miner plumber tailor waiter dancer florist
""")
ITEMS = _pool("""
apples lamps books chairs pens cups bottles shirts shoes hats keys coins tickets stamps boxes bags
plates spoons candles pillows cables screws nails bricks tiles ropes bells eggs lemons cherries
""")
_PARTS = _pool("""
user item count total price name size list index value data file path line node key max min sum avg
row col width height start end next prev time date code text msg buf tmp old new left right head
tail queue stack map set cache token model batch step loss rate score level depth limit offset page
""")
_ONSETS = [
    "b",
    "br",
    "c",
    "ch",
    "d",
    "dr",
    "f",
    "fl",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "pr",
    "qu",
    "r",
    "s",
    "sh",
    "sk",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "z",
]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ou"]
_CODAS = ["", "", "n", "r", "l", "s", "t", "m", "x", "nd", "rk", "st", "ck"]


def invented(rng: random.Random, syllables: int = 2) -> str:
    """A word that nobody has seen, so that it can only be copied."""
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS) for _ in range(syllables)
    )


def name(rng: random.Random) -> str:
    """A first name."""
    return invented(rng).capitalize() if rng.random() < 0.3 else rng.choice(NAMES)


def city(rng: random.Random) -> str:
    """A city, sometimes one that does not exist."""
    return invented(rng).capitalize() if rng.random() < 0.35 else rng.choice(CITIES)


def zone(rng: random.Random) -> str:
    """A time zone's name."""
    if rng.random() < 0.3:
        area = rng.choice(("Europe", "Asia", "America", "Africa", "Pacific", "Australia"))
        return f"{area}/{city(rng).replace(' ', '_')}"
    return rng.choice(ZONES)


def word(rng: random.Random) -> str:
    """A lower-case word."""
    return invented(rng) if rng.random() < 0.3 else rng.choice(WORDS)


def identifier(rng: random.Random) -> str:
    """A variable name as programmers choose them."""
    roll = rng.random()
    if roll < 0.2:
        return rng.choice("abcdefghijkmnpqrstuvwxyz")
    parts = [rng.choice(_PARTS) if rng.random() < 0.75 else invented(rng, 1) for _ in range(2)]
    if roll < 0.45:
        return parts[0]
    if roll < 0.8:
        return "_".join(parts)
    if roll < 0.9:
        return parts[0] + parts[1].capitalize()
    return parts[0] + str(rng.randrange(100))


def distinct(rng: random.Random, draw, count: int) -> list[str]:
    """`count` different draws of one of the functions above."""
    found: list[str] = []
    while len(found) < count:
        value = draw(rng)
        if value not in found:
            found.append(value)
    return found
