"""Jinja's immutable sandbox with bounds on time and size: the templates of models are anybody's.

Jinja has no `while`, but nested loops may run for years, and a few doublings of a text fill any
memory. Here every turn of a loop, every call and every filter looks at the clock, every text that
is joined has a greatest length, and the operators, methods and filters that make much of little ask
before they do. It is no jail for memory: what it leaves to a template is bounded by its time.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_S = 5.0  # of computing time of one rendering; those of long conversations take 0.1 s
BRIEF_S = 0.2  # of one that others wait for
MAX_LENGTH = 32_000_000  # characters, or items of a list; ten million tokens
MAX_WIDTH = 10_000  # that a text is filled up to, or indented by
MAX_BITS = 1024  # of a number

_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))
_brief: ContextVar[bool] = ContextVar("brief", default=False)
_WIDE = re.compile(r"\d{5}|\*")  # in a format, a width of five digits or one that is an argument
_FILLS = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})


class TooSlow(SecurityError):
    """The rendering has had its time."""


class Code(CodeGenerator):
    """`a ~ b` is joined by the environment, too."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat((")
        for each in node.nodes:
            self.write("str(")
            self.visit(each, frame)
            self.write("), ")
        self.write("))")


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment whose templates raise SecurityError beyond the bounds; see `within_bounds`."""

    code_generator_class = Code
    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        del self.globals["lipsum"]  # as much text as one asks for
        for name in ("center", "indent", "batch", "slice", "round"):
            self.filters[name] = with_small_numbers(self.filters[name])
        for name, guard in (("join", _joins), ("replace", _replaces), ("format", _formats)):
            self.filters[name] = _guarded(self.filters[name], guard)
        for name, act in self.filters.items():
            self.filters[name] = _guarded(act, _looks_at_the_clock)

    @staticmethod
    def concat(parts: Iterable[str]) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        found: list[str] = []
        length = 0
        for part in parts:
            length += len(part)
            _fits(length)
            found.append(part)
        return "".join(found)

    @staticmethod
    def tick() -> None:
        """At every turn of a loop."""
        if time.thread_time() > _deadline.get():
            raise TooSlow(f"it takes more than {_allowed_s():g} s")

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        for node in list(tree.find_all((nodes.For, nodes.Macro, nodes.CallBlock))):
            node.body.insert(0, nodes.ExprStmt(_ticks()).set_lineno(node.lineno))
            if isinstance(node, nodes.For) and node.test is not None:
                node.test = nodes.And(nodes.Not(_ticks()), node.test)  # also of what it leaves out
        tree.set_environment(self)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        match operator:
            case "+" if isinstance(left, str | list | tuple) and isinstance(right, type(left)):
                _fits(len(left) + len(right))
            case "*" if isinstance(left, int | float) and isinstance(right, int | float):
                _small(left, right)
            case "*":
                for many, times in ((left, right), (right, left)):
                    if isinstance(many, str | list | tuple) and isinstance(times, int):
                        _fits(len(many) * times)
            case "**":
                if not (isinstance(right, int | float) and abs(right) <= MAX_BITS):
                    raise SecurityError("that number is too large")
                _small(left)
                if isinstance(left, int) and left.bit_length() * abs(right) > 4 * MAX_BITS:
                    raise SecurityError("that number is too large")
            case "%" if isinstance(left, str) and _WIDE.search(left):
                raise SecurityError("that text is too wide")
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Any:
        found = super().wrap_str_format(value)
        # A width may be written in the text, or come from an argument within the braces.
        if found is not None and (
            _WIDE.search(value.__self__) or re.search(r":[^{}]*\{", value.__self__)
        ):
            raise SecurityError("that text is too wide")
        return found

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        __self.tick()
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            name = getattr(__obj, "__name__", "")
            if name in _FILLS:
                _narrow(*args, *kwargs.values())
            elif name == "join":
                args = _joins_text(owner, *args)
            elif name == "replace":
                _replaces(owner, *args)
        return super().call(__context, __obj, *args, **kwargs)


def within_bounds(render: Callable[[], str]) -> str:
    """The text. Raises SecurityError when it is too long, or its time is over."""
    token = _deadline.set(time.thread_time() + _allowed_s())
    try:
        return render()
    finally:
        _deadline.reset(token)


@contextlib.contextmanager
def in_brief() -> Iterator[None]:
    """Renderings within have BRIEF_S."""
    token = _brief.set(True)
    try:
        yield
    finally:
        _brief.reset(token)


def _allowed_s() -> float:
    return min(BRIEF_S, MAX_S) if _brief.get() else MAX_S


def _ticks() -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None)


def _fits(length: int) -> None:
    if length > MAX_WIDTH:
        Sandbox.tick()
    if length > MAX_LENGTH:
        raise SecurityError(f"a text or list of it is longer than {MAX_LENGTH:,}")


def _narrow(*widths: Any) -> None:
    if any(isinstance(width, int | float) and abs(width) > MAX_WIDTH for width in widths):
        raise SecurityError("that text is too wide")


def _small(*numbers: Any) -> None:
    if any(isinstance(number, int) and number.bit_length() > MAX_BITS for number in numbers):
        raise SecurityError("that number is too large")


def with_small_numbers(act: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose arguments are widths and counts."""

    def guard(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        Sandbox.tick()
        _narrow(*args[1:], *kwargs.values())
        return args

    return _guarded(act, guard)


def _guarded(act: Callable[..., Any], guard: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that asks first. `guard` may give back other arguments."""
    passes = getattr(act, "jinja_pass_arg", None)
    first = 0 if passes is None else 1

    def guarded(*args: Any, **kwargs: Any) -> Any:
        checked = guard(*args[first:], **kwargs)
        return act(*args[:first], *(args[first:] if checked is None else checked), **kwargs)

    if passes is not None:
        guarded.jinja_pass_arg = passes  # pyright: ignore[reportFunctionMemberAccess]
    return guarded


def _looks_at_the_clock(*_: Any, **__: Any) -> None:
    Sandbox.tick()


def _joins(value: Any, *rest: Any, **named: Any) -> tuple[Any, ...]:
    items = _listed(value)
    if len(rest) < 2 and "attribute" not in named:
        _fits(sum(len(each) if isinstance(each, str) else 8 for each in items))
    _fits(len(items) * len(str(rest[0] if rest else named.get("d", ""))))
    return (items, *rest)


def _joins_text(between: str, value: Any) -> tuple[Any]:
    items = _listed(value)
    _fits(sum(len(each) for each in items if isinstance(each, str)) + len(items) * len(between))
    return (items,)


def _listed(value: Iterable[Any]) -> list[Any]:
    items: list[Any] = []
    for item in value:
        items.append(item)
        if not len(items) % 1000:
            Sandbox.tick()
            _fits(len(items))
    return items


def _replaces(s: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> None:
    text, old, new = str(s), str(old), str(new)
    _fits(len(text) + text.count(old) * len(new))


def _formats(value: Any, *_: Any, **__: Any) -> None:
    if _WIDE.search(str(value)):
        raise SecurityError("that text is too wide")
