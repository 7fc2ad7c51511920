"""Tools under many names and schemas, each with a question that needs it."""

import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from .book import questions, sections
from .phrases import ask
from .pools import city, identifier, invented, name, word, zone
from .sums import Sum, draw_sum
from .talk import Tool


class Use(NamedTuple):
    """What a question makes of a tool."""

    question: str
    arguments: dict[str, Any]
    result: str  # the tool's answer
    answer: str  # the assistant's


class ToolKind(NamedTuple):
    """A tool as it could be declared, and how it is used."""

    schema: Tool
    use: Callable[[random.Random], Use]

    @property
    def name(self) -> str:
        """The function's name."""
        return self.schema["function"]["name"]


def _schema(
    rng: random.Random, name_: str, description: str, parameters: dict[str, dict[str, Any]]
) -> Tool:
    properties = {}
    for key, parameter in parameters.items():
        shown = dict(parameter)
        if rng.random() < 0.5:
            shown.pop("description", None)
        properties[key] = shown
    body: dict[str, Any] = {"type": "object", "properties": properties}
    required = [key for key in parameters if key != "unit"]
    if rng.random() < 0.75:
        body["required"] = required
    if rng.random() < 0.1:
        body["additionalProperties"] = False
    function: dict[str, Any] = {"name": name_}
    if rng.random() < 0.85:
        function["description"] = description
    function["parameters"] = body
    return {"type": "function", "function": function}


_WEATHER_NAMES = (
    "get_weather",
    "get_weather",
    "weather",
    "current_weather",
    "get_current_weather",
    "fetch_weather",
    "weather_now",
    "lookup_weather",
    "getWeather",
    "get_forecast",
    "forecast",
    "weather_report",
)
_SKIES = ("sunny", "cloudy", "rainy", "windy", "snowy", "foggy", "clear", "stormy", "dry", "humid")


def weather(rng: random.Random) -> ToolKind:
    """A weather service that wants a city."""
    name_ = rng.choice(_WEATHER_NAMES)
    key = rng.choice(("city", "city", "city", "location", "place", "town", "city_name"))
    description = rng.choice(
        (
            "Get the current weather",
            "Get the weather of a city",
            "Current weather for a city",
            "Weather in a given location",
            "Returns the weather",
            "Get weather information for a location",
        )
    )
    parameters: dict[str, dict[str, Any]] = {
        key: {
            "type": "string",
            "description": rng.choice(
                ("The city", "City name", "Name of the city", "The city, e.g. Paris")
            ),
        }
    }
    has_unit = rng.random() < 0.2
    if has_unit:
        parameters["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}

    def use(rng: random.Random) -> Use:
        town = city(rng)
        arguments = {key: town}
        question = ask(
            rng, rng.choice(questions("weather_asked")).replace("{tool}", name_), city=town
        )
        if has_unit and rng.random() < 0.4:
            arguments["unit"] = rng.choice(("celsius", "fahrenheit"))
            question += f" In {arguments['unit']}."
        degrees, sky = rng.randint(-15, 39), rng.choice(_SKIES)
        result = rng.choice(
            (
                json.dumps({"temperature": degrees, "condition": sky}),
                json.dumps({"city": town, "temperature": degrees, "sky": sky}),
                json.dumps({"temp_c": degrees, "conditions": sky}),
                f"{degrees} degrees, {sky}",
                f"{sky}, {degrees}°C",
                f"{sky} and {degrees} degrees",
                json.dumps({"condition": sky, "temperature": degrees}),
                f"{degrees}C and {sky}",
            )
        )
        return Use(question, arguments, result, f"It is {degrees} degrees and {sky} in {town}.")

    return ToolKind(_schema(rng, name_, description, parameters), use)


_CLOCK_NAMES = (
    "get_time",
    "get_time",
    "clock",
    "current_time",
    "get_current_time",
    "time_now",
    "what_time",
    "now",
    "world_clock",
    "getTime",
)


def clock(rng: random.Random) -> ToolKind:
    """A clock that wants a time zone, a city or nothing."""
    name_ = rng.choice(_CLOCK_NAMES)
    key = rng.choice(("timezone", "timezone", "city", "city", "location", "tz", "zone", None))
    by_zone = key in ("timezone", "tz", "zone")
    description = rng.choice(
        (
            "Get the current time",
            "Current time in a place",
            "Tells the time",
            "The clock",
            "Get the local time",
            "Returns the time now",
        )
    )
    says = "The time zone" if by_zone else "The city"
    parameters = {key: {"type": "string", "description": says}} if key else {}

    def use(rng: random.Random) -> Use:
        time = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}"
        result = rng.choice(
            (
                json.dumps({"time": time}),
                time,
                json.dumps({"time": time, "date": "2026-01-01"}),
                f"It is {time}.",
                json.dumps({"current_time": time}),
            )
        )
        if key is None:
            return Use(ask(rng, rng.choice(questions("clock_here"))), {}, result, f"It is {time}.")
        where = zone(rng) if by_zone and rng.random() < 0.7 else city(rng)
        question = ask(
            rng, rng.choice(questions("clock_asked")).replace("{tool}", name_), where=where
        )
        return Use(question, {key: where}, result, f"It is {time} in {where}.")

    return ToolKind(_schema(rng, name_, description, parameters), use)


_CALCULATOR_NAMES = (
    "calculator",
    "calculator",
    "calculate",
    "compute",
    "calc",
    "evaluate",
    "math",
    "eval_expression",
    "do_math",
)


def calculator(rng: random.Random) -> ToolKind:
    """A calculator that wants an expression."""
    name_ = rng.choice(_CALCULATOR_NAMES)
    key = rng.choice(
        ("expression", "expression", "expression", "expr", "formula", "input", "query")
    )
    description = rng.choice(
        (
            "Evaluate an expression",
            "A calculator",
            "Evaluates a mathematical expression",
            "Calculate an arithmetic expression",
            "Do math",
        )
    )
    parameters = {
        key: {
            "type": "string",
            "description": rng.choice(("The expression", "Expression to evaluate", "e.g. 2 + 3")),
        }
    }

    def use(rng: random.Random) -> Use:
        if rng.random() < 0.4:
            sum_ = draw_sum(rng)
        else:
            sum_ = Sum(rng.randint(10, 9999), rng.randint(2, 999), rng.choice("+-*"))
        wording = {"+": "plus", "-": "minus", "*": "times"}[sum_.op]
        form = rng.choice(
            (f"{sum_.a}{sum_.op}{sum_.b}", str(sum_), str(sum_), f"{sum_.a} {wording} {sum_.b}")
        )
        expression, value = str(sum_), str(sum_.result)
        if rng.random() < 0.15:
            third = rng.randint(2, 99)
            op = rng.choice("+-")
            form, expression = f"{sum_} {op} {third}", f"{sum_} {op} {third}"
            value = str(sum_.result + third if op == "+" else sum_.result - third)
        question = ask(
            rng, rng.choice(questions("calculator_asked")).replace("{tool}", name_), sum=form
        )
        result = rng.choice(
            (
                value,
                json.dumps({"result": int(value)}),
                json.dumps({"value": int(value)}),
                f"= {value}",
            )
        )
        return Use(question, {key: expression}, result, f"{expression} = {value}")

    return ToolKind(_schema(rng, name_, description, parameters), use)


def other(rng: random.Random) -> ToolKind:
    """A tool of another kind, so that reading a schema is learned and not three names."""
    described = rng.choice(sections("tools"))
    kind = described.attributes["kind"]
    name_ = rng.choice(described.attributes["names"].split())
    key = rng.choice(described.attributes["keys"].split())
    if rng.random() < 0.15:
        key = identifier(rng)
    if rng.random() < 0.15:
        name_ = f"{name_}_{invented(rng, 1)}"
    parameters = {
        key: {"type": "integer" if kind == "int" else "string", "description": f"The {key}"}
    }

    def use(rng: random.Random) -> Use:
        value = _value(rng, kind)
        result = rng.choice(
            (word(rng), f"{word(rng)} {word(rng)}", "done", "ok", str(rng.randrange(1000)))
        )
        question = ask(rng, rng.choice(described.patterns), x=str(value))
        return Use(question, {key: value}, result, f"The result is: {result}")

    return ToolKind(_schema(rng, name_, described.title, parameters), use)


def _value(rng: random.Random, kind: str) -> str | int:
    if kind == "int":
        return rng.randrange(1, 1000)
    if kind == "file":
        return f"{identifier(rng)}.{rng.choice(('py', 'txt', 'md', 'json'))}"
    if kind == "folder":
        return rng.choice(("/", "./", "~/", "")) + identifier(rng)
    if kind == "name":
        return name(rng)
    if kind == "command":
        return rng.choice(
            (
                "ls -l",
                "pwd",
                "date",
                f"cat {identifier(rng)}.txt",
                f"echo {word(rng)}",
                f"cd {word(rng)}",
                "git status",
                f"python {identifier(rng)}.py",
            )
        )
    return word(rng)
