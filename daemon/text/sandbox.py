"""Jinja's immutable sandbox with bounds on time and size: the templates of models are anybody's.

Jinja has no `while`, but nested loops may run for years, and a few doublings of a text fill any
memory. Here every turn of a loop, every call and every filter looks at the clock, and what makes
much of little (joining, operators, methods, filters, comparing what holds much) is asked before how
much that is (`sizes`). Bytes cannot be had, nor methods of numbers. It is no jail for memory: what
it leaves to a template is bounded by its time.
"""

from __future__ import annotations

import contextlib
import operator
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

from jinja2 import nodes, pass_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from . import sizes

MAX_S = 5.0  # of computing time of one rendering; those of long conversations take 0.1 s
BRIEF_S = 0.2  # of one that others wait for
MAX_SLOW = 1_000_000  # characters for a filter that does much with each
LONG = 1000  # characters of a word in a template

T = TypeVar("T")

_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))
_brief: ContextVar[bool] = ContextVar("brief", default=False)
_FILLS = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})
_SEARCHES = frozenset({"index", "count"})
_NOT_OF_TEXTS = frozenset({"encode", "translate", "maketrans"})
# Made once: a union that is written where it is asked for is made anew each time.
_NUMBERS = (int, float, complex, bytes, bytearray, memoryview)
_SIZED = (str, list, tuple)
_SCALARS = frozenset({str, int, float, bool, type(None)})
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda item, holder: item in holder,
    "notin": lambda item, holder: item not in holder,
}


class TooSlow(SecurityError):
    """The rendering has had its time."""


class Code(CodeGenerator):
    """`a ~ b` is joined by the environment, and it compares."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.concat((")
        for each in node.nodes:
            self.write("environment.text(")
            self.visit(each, frame)
            self.write("), ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        sides = (node.expr, *(op.expr for op in node.ops))
        if any(isinstance(each, nodes.Const) and not _is_long(each.value) for each in sides):
            super().visit_Compare(node, frame)
            return
        self.write("environment.compare(")
        self.visit(node.expr, frame)
        for op in node.ops:
            self.write(f", {op.op!r}, ")
            self.visit(op.expr, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        """One within others is hashed with all of them, which no list is."""
        if node.ctx != "load":
            super().visit_Tuple(node, frame)
            return
        self.write("environment.finalize(")
        super().visit_Tuple(node, frame)
        self.write(")")


class Sandbox(ImmutableSandboxedEnvironment):
    """An environment whose templates raise SecurityError beyond the bounds; see `within_bounds`."""

    code_generator_class = Code
    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_shown, **options)
        del self.globals["lipsum"]  # as much text as one asks for
        for name in ("center", "indent", "batch", "slice", "round"):
            self.filters[name] = with_small_numbers(self.filters[name])
        for name, guard in _GUARDS.items():
            self.filters[name] = _guarded(self.filters[name], guard)
        for name, act in self.filters.items():
            guard = _looks_at_the_clock if name in _OF_LISTS else _weighs
            self.filters[name] = _guarded(act, guard)

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
    def text(value: Any) -> str:
        """What joins others."""
        return value if type(value) is str else str(_shown(value))

    @staticmethod
    def compare(left: Any, *rest: Any) -> Any:
        """`rest`: operator, value, operator, value …"""
        result: Any = True
        for name, right in zip(rest[::2], rest[1::2], strict=True):
            if type(left) not in _SCALARS or type(right) not in _SCALARS:
                Sandbox.tick()
                sizes.comparable(left, right)
            result = _OPERATORS[name](left, right)
            if not result:
                break
            left = right
        return result

    @staticmethod
    def tick() -> None:
        """At every turn of a loop."""
        if time.thread_time() > _deadline.get():
            raise TooSlow(f"it takes more than {_allowed_s():g} s")

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, _NUMBERS) or (attr in _NOT_OF_TEXTS and isinstance(obj, str)):
            return False
        return super().is_safe_attribute(obj, attr, value)

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
            case "+" if isinstance(left, _SIZED):
                if isinstance(right, _SIZED):
                    _fits(len(left) + len(right))
            case "*":
                sizes.product(left, right)
            case "**":
                sizes.power(left, right)
            case "%" if isinstance(left, str):
                sizes.formattable(left, right if isinstance(right, tuple) else (right,))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Any:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        def form(*args: Any, **kwargs: Any) -> str:
            sizes.formattable(value.__self__, (*args, *kwargs.values()))
            return wrapped(*args, **kwargs)

        return form

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        __self.tick()
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            name = __obj.__name__
            if name in _FILLS:
                sizes.narrow(*args, *kwargs.values())
            elif name == "join":
                args = _joins_text(owner, *args)
            elif name == "replace":
                _replaces(owner, *args)
        elif isinstance(owner, _SIZED) and __obj.__name__ in _SEARCHES:
            sizes.comparable(owner, args)
        return super().call(__context, __obj, *args, **kwargs)


def within_bounds(act: Callable[[], T]) -> T:
    """What a rendering gives. Raises SecurityError when it is too long, or its time is over."""
    token = _deadline.set(time.thread_time() + _allowed_s())
    try:
        return act()
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


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > LONG


def _shown(value: Any) -> Any:
    """A value that is about to become text."""
    if type(value) not in _SCALARS:
        sizes.weight(value)
    return value


def _fits(length: int) -> None:
    if length > sizes.MAX_WIDTH:
        Sandbox.tick()
    sizes.fits(length)


# ---- filters


def with_small_numbers(act: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose arguments are widths and counts."""

    def guard(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        Sandbox.tick()
        _shown(args[0] if args else "")
        sizes.narrow(*args[1:], *kwargs.values())
        return args

    return _guarded(act, guard)


def _guarded(act: Callable[..., Any], guard: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that asks first. `guard` may give back other arguments. It wants the context, so
    that Jinja does not compute it while it compiles a template, however much that would be."""
    passes = getattr(act, "jinja_pass_arg", None)

    @pass_context
    def guarded(context: Context, *args: Any, **kwargs: Any) -> Any:
        checked = guard(*args, **kwargs)
        found = act(*_passed(context, passes), *(args if checked is None else checked), **kwargs)
        if isinstance(found, _SIZED):
            _fits(len(found))
        return found

    return guarded


def _passed(context: Context, what: Any) -> tuple[Any, ...]:
    """What a filter of Jinja's is given before its arguments."""
    match what and what.name:
        case None:
            return ()
        case "environment":
            return (context.environment,)
        case "eval_context":
            return (context.eval_ctx,)
    return (context,)


def _looks_at_the_clock(*_: Any, **__: Any) -> None:
    Sandbox.tick()


def _weighs(value: Any = "", *_: Any, **__: Any) -> None:
    """Of a filter that makes a text of whatever it gets."""
    Sandbox.tick()
    _shown(value)


def _reads_a_number(value: Any = 0, *_: Any, **__: Any) -> None:
    if isinstance(value, str) and len(value) > LONG:
        raise SecurityError("that number is too large")


def _takes_long(value: Any = "", *_: Any, **__: Any) -> None:
    if sizes.weight(value) > MAX_SLOW:
        raise SecurityError("that text is too long for a filter")


def _joins(value: Any, *rest: Any, **named: Any) -> tuple[Any, ...]:
    """What an attribute of an item holds is not more than the item."""
    items = sizes.listed(value, Sandbox.tick)
    sizes.joined(items, str(_shown(rest[0] if rest else named.get("d", ""))))
    return (items, *rest)


def _joins_text(between: str, value: Any = ()) -> tuple[Any]:
    items = sizes.listed(value, Sandbox.tick)
    sizes.joined(items, between)
    return (items,)


def _orders(value: Any = (), *rest: Any, **_: Any) -> tuple[Any, ...]:
    """Items are compared with each other."""
    items = sizes.listed(value, Sandbox.tick)
    sizes.weight(items)
    return (items, *rest)


def _sums(value: Any, *rest: Any, **named: Any) -> tuple[Any, ...]:
    items = sizes.listed(value, Sandbox.tick)
    start = named.get("start", rest[1] if len(rest) > 1 else 0)
    sizes.summed(items, start)
    return (items, *rest)


def _replaces(text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> None:
    Sandbox.tick()
    sizes.replaced(*(str(_shown(each)) for each in (text, old, new)))


def _formats(text: Any, *args: Any, **named: Any) -> None:
    sizes.formattable(str(_shown(text)), (*args, *named.values()))


_GUARDS: dict[str, Callable[..., Any]] = {
    "join": _joins,
    "replace": _replaces,
    "format": _formats,
    "sum": _sums,
    "int": _reads_a_number,
    **dict.fromkeys(("sort", "max", "min", "unique", "groupby"), _orders),
    **dict.fromkeys(
        ("wordwrap", "urlize", "striptags", "title", "pprint", "xmlattr", "wordcount"), _takes_long
    ),
}
# Filters that make no text of the lists that they get.
_OF_LISTS = frozenset(
    {
        *("attr", "batch", "count", "d", "default", "first", "groupby", "items"),
        *("join", "last", "length", "list", "map", "max", "min", "random", "reject"),
        *("rejectattr", "reverse", "select", "selectattr", "slice", "sort", "sum", "unique"),
    }
)
