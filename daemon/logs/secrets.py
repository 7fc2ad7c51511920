"""Keeping secrets out of the log, whoever put them into a message."""

from __future__ import annotations

import re

HIDDEN = "[hidden]"

# What looks like a key by itself, and what stands behind a word that says that it is one.
_SECRET = re.compile(
    r"\b(?:hf_|sk-|sk_|ghp_|github_pat_|fastmlx-local-)[A-Za-z0-9_-]{12,}"
    r"|(?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}"
    r"|(?P<name>(?:api[_-]?key|x-api-key|password|passwd|secret|access[_-]?token|authorization"
    r"|set-cookie|cookie)[\"']?\s*[:=]\s*[\"']?)(?!bearer\s|basic\s)[^\s\"',;&}]{4,}"
    r"|(?P<url>://[^\s/:@]*:)[^\s/@]+(?=@)",
    re.IGNORECASE,
)
# One of these stands in every match; looking for them is a tenth of the work, and nearly no line
# has one.
_HINTS = (
    *("hf_", "sk-", "sk_", "ghp_", "github_pat_", "fastmlx-local-", "bearer", "basic", "key"),
    *("passw", "secret", "access", "authorization", "cookie", "://"),
)


def without_secrets(text: str) -> str:
    """`text` with every key, password and token that can be told by its look or its name hidden."""
    folded = text.lower()
    return _SECRET.sub(_hidden, text) if any(hint in folded for hint in _HINTS) else text


def _hidden(found: re.Match[str]) -> str:
    return (found["scheme"] or found["name"] or found["url"] or "") + HIDDEN
