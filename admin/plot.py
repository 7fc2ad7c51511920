"""Stacked bars over time, as the shapes of an SVG. Pure; `templates/plot.svg` draws them.

Server-side SVG and no plotting library: the plots need no script, look the same without one, follow
the stylesheet in light and dark, and weigh less than a library would.

    TOP    ┌──────────────────────────┐
           │ bars                     │
    base   └──────────────────────────┘
           LEFT                  WIDTH − RIGHT
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 38, 2, 10, 22
BASE = HEIGHT - BOTTOM

_ROUND = re.compile(r"\.0+(?=\D*$)")  # 80.0k is 80k on an axis


class Stack(NamedTuple):
    """One model's bars."""

    colour: str  # class of the stylesheet
    path: str


class Hover(NamedTuple):
    """A bucket with a value: where to point, and what it says then."""

    x: float
    width: float
    text: str


class Tick(NamedTuple):
    at: float
    label: str


class Plot(NamedTuple):
    title: str
    summary: str  # in words, for those who do not see it
    stacks: list[Stack]
    hovers: list[Hover]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


class Line(NamedTuple):
    """What is plotted: one model's value per bucket."""

    name: str
    colour: str
    values: Sequence[int]


def plot(
    title: str,
    lines: Sequence[Line],
    labels: Sequence[str],
    x_labels: Sequence[str],
    show: Callable[[float], str],
) -> Plot:
    """`labels` names each bucket in full; `x_labels` stands under the axis where it is not "".

    `show` writes a value for people. Every line has `len(labels)` values, none negative.
    """
    totals = [sum(line.values[i] for line in lines) for i in range(len(labels))]
    top, step = axis(max(totals, default=0))
    width = (WIDTH - LEFT - RIGHT) / max(1, len(labels))
    scale = (BASE - TOP) / top
    return Plot(
        title,
        _summary(lines, totals, labels, show),
        _stacks(lines, len(labels), width, scale),
        [
            Hover(
                round(LEFT + i * width, 1),
                round(width, 1),
                _bucket_text(labels[i], lines, i, total, show),
            )
            for i, total in enumerate(totals)
            if total
        ],
        [
            Tick(round(LEFT + i * width, 1), label)
            for i, label in enumerate(x_labels)
            if label and LEFT + 8 < LEFT + i * width < WIDTH - 16
        ],
        [
            Tick(round(BASE - value * scale, 1), _ROUND.sub("", show(value)))
            for value in _multiples(step, top)
            if value
        ],
    )


def axis(largest: float) -> tuple[float, float]:
    """Upper end and step of an axis that holds `largest` with two to five lines at 1, 2 or 5."""
    if largest <= 0:
        return 1.0, 1.0
    magnitude = 10.0 ** math.floor(math.log10(largest))
    for factor in (0.2, 0.5, 1, 2):
        step = factor * magnitude
        if largest <= 5 * step:
            break
    step = max(1.0, step)  # things are counted in wholes
    return math.ceil(largest / step) * step, step


def _multiples(step: float, top: float) -> list[float]:
    return [i * step for i in range(round(top / step) + 1)]


def _stacks(lines: Sequence[Line], buckets: int, width: float, scale: float) -> list[Stack]:
    gap = 1.0 if width > 3 else 0.4
    floor = [0.0] * buckets  # how high the bars of the models before reach
    stacks = []
    for line in lines:
        path = []
        for i, value in enumerate(line.values):
            if value:
                height = max(0.8, value * scale)  # one request beside a million is still seen
                x, y = LEFT + i * width + gap / 2, BASE - floor[i] - height
                path.append(f"M{x:.1f} {y:.1f}h{width - gap:.1f}v{height:.1f}h-{width - gap:.1f}z")
                floor[i] += height
        stacks.append(Stack(line.colour, "".join(path)))
    return stacks


def _bucket_text(
    label: str, lines: Sequence[Line], i: int, total: int, show: Callable[[float], str]
) -> str:
    parts = [f"{line.name} {show(line.values[i])}" for line in lines if line.values[i]]
    return "\n".join([f"{label}: {show(total)}", *(parts if len(parts) > 1 else parts[:1])])


def _summary(
    lines: Sequence[Line],
    totals: Sequence[int],
    labels: Sequence[str],
    show: Callable[[float], str],
) -> str:
    if not any(totals):
        return "Nothing in this time."
    peak = max(range(len(totals)), key=lambda i: totals[i])
    models = ", ".join(f"{line.name} {show(sum(line.values))}" for line in lines)
    return f"{models}. Most at {labels[peak]}: {show(totals[peak])}."
