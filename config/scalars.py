"""One scalar of config.yaml: `${VAR}` replaced, then text → number, boolean, nothing or text.

YAML 1.2's core schema (1e-3 is a number; 012, 1:30 and 2024-01-01 are texts), but yes, no, on
and off stay booleans as in YAML 1.1, because people mean them so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

# All that YAML allows in a text, less the byte order mark.
FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)

_VARIABLE = re.compile(r"(\$?)\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\})?")
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE|yes|Yes|YES|on|On|ON")
_FALSE = re.compile(r"false|False|FALSE|no|No|NO|off|Off|OFF")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,4})?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_NOT_A_NUMBER = re.compile(r"\.(?:nan|NaN|NAN)")

Resolved = str | int | float | bool | None


class VariableProblem(ValueError):
    """`${…}` that cannot be replaced; `reference` is how it is written."""

    def __init__(self, message: str, reference: str) -> None:
        super().__init__(message)
        self.reference = reference


def is_null(text: str) -> bool:
    """Whether a plain scalar means nothing."""
    return _NULL.fullmatch(text) is not None


def resolve(text: str) -> Resolved:
    """What a plain (unquoted) scalar means."""
    if is_null(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not _LEADING_ZERO.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    if _NOT_A_NUMBER.fullmatch(text):
        return math.nan
    return text


def substitute(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${VAR}` and `${VAR:-default}` (also when VAR is empty); `$${` stays as `${`.

    What a variable holds is not looked at again. Raises VariableProblem.
    """

    def value(match: re.Match[str]) -> str:
        escape, name, default = match.groups()
        if escape:
            return match[0][1:]
        if name is None:
            raise VariableProblem("'${' needs a name and '}'; write '$${' for the text", match[0])
        found = environ.get(name, "")
        if not found and default is not None:
            return default
        if name not in environ:
            raise VariableProblem(f"the environment variable {name} is not set", match[0])
        if FORBIDDEN.search(found):
            raise VariableProblem(f"{name} holds a character that is not allowed", match[0])
        return found

    return _VARIABLE.sub(value, text)
